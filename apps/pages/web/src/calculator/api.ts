import { members, text } from "../kit/commands";
import { call, reasonOf } from "../kit/http";
import { parse, type Json } from "../kit/json";

/** Value is one value; its number is the text that the server wrote. */
export interface Value {
  id: string;
  value: string;
}

/** Step is one event in a value's history. */
export interface Step {
  number: string;
  action: string;
  operation: string;
  operand: string;
  result: string;
  event: string;
  command: string;
  at: Date;
}

/** Page is part of a list; next is the cursor of the following part, "" at the end. */
export interface Page<T> {
  items: T[];
  next: string;
}

/** Refused is an answer that is no success. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

function valueOf(json: Json): Value {
  const row = members(json);
  return { id: text(row["value_id"]), value: text(row["value"]) };
}

function stepOf(json: Json): Step {
  const row = members(json);
  return {
    number: text(row["number"]), action: text(row["action"]), operation: text(row["operation"]), operand: text(row["value"]),
    result: text(row["result"]), event: text(row["event"]), command: text(row["command"]), at: new Date(Number(text(row["timestamp"]))),
  };
}

/** readValue reads the data of a live event. */
export const readValue = (data: string): Value => valueOf(parse(data));

async function get(path: string, token = "", signal?: AbortSignal): Promise<Json> {
  const answer = await call("GET", path, { headers: token ? { "Tidemill-Token": token } : {}, signal });
  if (answer.status !== 200) throw new Refused(answer.status, reasonOf(answer));
  return answer.body;
}

async function list<T>(path: string, item: (json: Json) => T, token = "", signal?: AbortSignal): Promise<Page<T>> {
  const body = members(await get(path, token, signal));
  const items = body["items"];
  return { items: Array.isArray(items) ? items.map(item) : [], next: text(body["next"]) };
}

/** values reads a page of all values, in the order of their ids. */
export function values(prefix: string, cursor: string, signal?: AbortSignal): Promise<Page<Value>> {
  const query = new URLSearchParams({ limit: "25" });
  if (prefix) query.set("prefix", prefix);
  if (cursor) query.set("cursor", cursor);
  return list(`/values?${query}`, valueOf, "", signal);
}

/** history reads a page of a value's events, the latest first. */
export function history(id: string, cursor: string, signal?: AbortSignal): Promise<Page<Step>> {
  const query = new URLSearchParams({ limit: "20" });
  if (cursor) query.set("cursor", cursor);
  return list(`/values/${encodeURIComponent(id)}/history?${query}`, stepOf, "", signal);
}

/** live is the stream of one value's changes. */
export function live(id: string): string {
  return `/values/${encodeURIComponent(id)}`;
}
