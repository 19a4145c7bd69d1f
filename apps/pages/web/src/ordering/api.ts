import { members, text } from "../kit/commands";
import { call, reasonOf } from "../kit/http";
import { parse, type Json } from "../kit/json";
import { pence } from "../kit/money";

/** The buckets, in the order in which they are shown. */
export const names = ["CHEAP", "AFFORDABLE", "EXPENSIVE"] as const;

export type Name = (typeof names)[number];

/** Order is one order; its price is the text that the server wrote. */
export interface Order {
  id: string;
  label: string;
  price: string;
  placedAt: string;
  /** fresh: it came while somebody was looking. */
  fresh: boolean;
}

/** Sort is how a bucket's orders are sorted. */
export interface Sort {
  by: "time" | "price";
  descending: boolean;
}

/** Part is a page of a bucket; next is the cursor of the following one, "" at the end. */
export interface Part {
  bucket: Name;
  count: string;
  total: string;
  orders: Order[];
  next: string;
}

/** Thresholds: affordable begins with the first and ends with the second, inclusive. */
export interface Thresholds {
  affordable: string;
  expensive: string;
}

/** Refused is an answer that is no success. */
export class Refused extends Error {}

function nameOf(json: Json | undefined): Name | null {
  return names.find((name) => name === text(json)) ?? null;
}

function orderOf(json: Json): Order {
  const row = members(json);
  return { id: text(row["orderId"]), label: text(row["itemLabel"]), price: text(row["itemPrice"]), placedAt: text(row["placedAt"]), fresh: false };
}

function partOf(json: Json): Part | null {
  const body = members(json);
  const bucket = nameOf(body["bucket"]);
  const orders = body["orders"];
  if (!bucket) return null;
  return {
    bucket, count: text(body["count"]), total: text(body["total"]), next: text(body["next"]),
    orders: Array.isArray(orders) ? orders.map(orderOf) : [],
  };
}

const customerPath = (customer: string) => `/customers/${encodeURIComponent(customer)}`;

/** changes is the path of the stream of a customer's changes. */
export const changes = (customer: string) => `${customerPath(customer)}/changes`;

/** Change is one change: of an order, null for one that is gone, or of a bucket's totals. */
export type Change =
  | { kind: "order"; bucket: Name; id: string; order: Order | null }
  | { kind: "totals"; bucket: Name; count: string; total: string };

/** readChange reads an event of the stream; null for what this page does not know. */
export function readChange(type: string, data: string): Change | null {
  const body = parse(data);
  const row = members(body);
  const bucket = nameOf(row["bucket"]);
  if (!bucket) return null;
  if (type === "totals") return { kind: "totals", bucket, count: text(row["count"]), total: text(row["total"]) };
  if (type !== "order" && type !== "removed") return null;
  return { kind: "order", bucket, id: text(row["orderId"]), order: type === "order" ? orderOf(body) : null };
}

/** size is how many orders a page has. */
export const size = 20;

function query(sort: Sort, cursor: string): string {
  const values = new URLSearchParams({ sort: sort.by, order: sort.descending ? "desc" : "asc", limit: String(size) });
  if (cursor) values.set("cursor", cursor);
  return values.toString();
}

async function get(path: string, signal: AbortSignal): Promise<{ [name: string]: Json }> {
  const answer = await call("GET", path, { signal });
  if (answer.status !== 200) throw new Refused(reasonOf(answer));
  return members(answer.body);
}

/** overview reads the first page of all buckets. */
export async function overview(customer: string, sort: Sort, signal: AbortSignal): Promise<{ thresholds: Thresholds; parts: Part[] }> {
  const body = await get(`${customerPath(customer)}/orders?${query(sort, "")}`, signal);
  const thresholds = members(body["thresholds"]);
  const buckets = body["buckets"];
  return {
    thresholds: { affordable: text(thresholds["affordable"]), expensive: text(thresholds["expensive"]) },
    parts: Array.isArray(buckets) ? buckets.map(partOf).filter((part) => part !== null) : [],
  };
}

/** part reads one page of one bucket. */
export async function part(customer: string, bucket: Name, sort: Sort, cursor: string, signal: AbortSignal): Promise<Part> {
  const read = partOf(await get(`${customerPath(customer)}/orders/${bucket}?${query(sort, cursor)}`, signal));
  if (!read) throw new Refused("the answer cannot be read");
  return read;
}

/** bucketOf is where a price belongs, null for what is no price. */
export function bucketOf(price: string, thresholds: Thresholds): Name | null {
  const [amount, low, high] = [pence(price), pence(thresholds.affordable), pence(thresholds.expensive)];
  if (amount === null || low === null || high === null || amount < 0n) return null;
  return amount < low ? "CHEAP" : amount <= high ? "AFFORDABLE" : "EXPENSIVE";
}
