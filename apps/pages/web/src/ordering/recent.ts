import { pence } from "../kit/money";
import { size, type Change, type Name, type Order, type Sort } from "./api";

/**
 * How much older than a change an answer may be that was asked for after it, in milliseconds: pages are read from other
 * copies than the one that tells of changes.
 */
const grace = 2000;

interface Told {
  bucket: Name;
  /** order is null for one that is gone. */
  order: Order | null;
  at: number;
}

/** Recent keeps the latest change of each order and total for as long as an answer may be older. */
export class Recent {
  private readonly orders = new Map<string, Told>();
  private readonly sums = new Map<Name, { count: string; total: string; at: number }>();

  note(change: Change): void {
    const at = performance.now();
    if (change.kind === "totals") {
      this.sums.set(change.bucket, { count: change.count, total: change.total, at });
      return;
    }
    this.orders.delete(change.id); // so that the map is in the order of the changes
    this.orders.set(change.id, { bucket: change.bucket, order: change.order, at });
    for (const [id, told] of this.orders) {
      if (told.at > at - 10 * grace) break;
      this.orders.delete(id);
    }
  }

  clear(): void {
    this.orders.clear();
    this.sums.clear();
  }

  /** order returns what is known of an order: null for one that is gone, undefined for nothing. */
  order(id: string): Order | null | undefined {
    return this.orders.get(id)?.order;
  }

  /** since returns the orders of a bucket that an answer may not have, which was asked for at a time. */
  since(bucket: Name, asked: number): string[] {
    return [...this.orders].filter(([, told]) => told.bucket === bucket && told.at >= asked - grace).map(([id]) => id);
  }

  /** totals returns a bucket's totals, if an answer may not have them. */
  totals(bucket: Name, asked: number): { count: string; total: string } | undefined {
    const told = this.sums.get(bucket);
    return told && told.at >= asked - grace ? { count: told.count, total: told.total } : undefined;
  }
}

/** compare puts orders in the order in which the server lists them: by time or price, then by id. */
function compare(a: Order, b: Order, sort: Sort): number {
  const [left, right] = sort.by === "price" ? [pence(a.price) ?? 0n, pence(b.price) ?? 0n] : [BigInt(a.placedAt || "0"), BigInt(b.placedAt || "0")];
  const way = left < right ? -1 : left > right ? 1 : a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
  return sort.descending ? -way : way;
}

/** without returns orders but for one. */
export const without = (orders: Order[], id: string) => orders.filter((one) => one.id !== id);

/** place puts an order where it belongs on a first page. over: something moves to the next page, or is there already. */
export function place(orders: Order[], order: Order, sort: Sort, more: boolean): { orders: Order[]; over: boolean } {
  const known = orders.find((one) => one.id === order.id);
  const rest = without(orders, order.id);
  const found = rest.findIndex((one) => compare(order, one, sort) < 0);
  const at = found < 0 ? rest.length : found;
  if (found < 0 && more && !known) return { orders, over: false }; // it belongs to a later page
  const placed = [...rest.slice(0, at), { ...order, fresh: known?.fresh ?? order.fresh }, ...rest.slice(at)];
  return { orders: placed.slice(0, size), over: placed.length > size };
}
