import { delay, pause, Unreachable } from "../kit/http";
import { Store } from "../kit/store";
import { stream } from "../kit/stream";
import { before, changeOf, changes, names, overview, part, type Change, type Name, type Order, type Part, type Sort, type Thresholds } from "./api";

/** Bucket is a bucket as it is shown: one page of it. */
export interface Bucket extends Part {
  /** cursors of the pages up to the one that is shown. */
  cursors: string[];
  /** loading: another page is on its way. */
  loading: boolean;
}

/** View is all that is shown of a customer's orders. */
export interface View {
  /** known: the server has told what there is. */
  known: boolean;
  thresholds: Thresholds;
  buckets: Bucket[];
  connection: "connecting" | "live" | "lost";
  /** problem tells why nothing comes, "" where something does. */
  problem: string;
}

/** How long changes are gathered before a page is read anew, in milliseconds. They are shown at once all the same. */
const settle = 250;

const empty = (bucket: Name): Bucket => ({ bucket, count: "", total: "", orders: [], next: "", cursors: [""], loading: false });

/**
 * Orders keeps the pages that are shown as they are on the server. A change is applied the moment it comes; a little later the
 * page is read anew, so that it has its full length and the right cursor behind it, whatever has come and gone.
 */
export class Orders {
  readonly view = new Store<View>({
    known: false, thresholds: { affordable: "", expensive: "" }, buckets: names.map(empty), connection: "connecting", problem: "",
  });
  private readonly end = new AbortController();
  /** late has, for each bucket that is being read, the changes since: the answer may not have them. */
  private readonly late = new Map<Name, Change[][]>();
  private readonly timers = new Map<Name, ReturnType<typeof setTimeout>>();
  /** turns counts the reads of each bucket: only the latest counts. */
  private readonly turns = new Map<Name, number>();

  constructor(
    private readonly customer: string,
    private readonly sort: Sort,
  ) {}

  /** start follows the changes until stop. */
  start(): void {
    void stream(
      changes(this.customer),
      {
        opened: (resumed) => {
          this.set({ connection: "live", problem: "" });
          // The stream goes on without gap; but what was being read when it broke has to be read again.
          if (resumed) void this.readAll();
        },
        event: (event) => {
          if (event.type === "ready") {
            this.set({ connection: "live", problem: "" });
            void this.readAll();
            return;
          }
          const change = changeOf(event.type, event.data);
          if (change) this.take(change);
        },
        lost: (reason) => this.set({ connection: "lost", problem: reason }),
        ended: (_, reason) => {
          this.set({ connection: "lost", problem: reason });
          void this.readAll(); // what can be read is shown, if not live
        },
      },
      this.end.signal,
    );
  }

  stop(): void {
    this.end.abort();
    for (const timer of this.timers.values()) clearTimeout(timer);
  }

  /** turn shows another page: the next, the previous, or the first. */
  turn(name: Name, to: "next" | "previous" | "first"): void {
    const bucket = this.bucket(name);
    let cursors = [""];
    if (to === "next") cursors = [...bucket.cursors, bucket.next];
    else if (to === "previous") cursors = bucket.cursors.slice(0, -1);
    this.change(name, { cursors, loading: true });
    void this.read(name);
  }

  private bucket(name: Name): Bucket {
    return this.view.get().buckets.find((one) => one.bucket === name) ?? empty(name);
  }

  private set(to: Partial<View>): void {
    this.view.update((view) => ({ ...view, ...to }));
  }

  private change(name: Name, to: Partial<Bucket>): void {
    this.set({ buckets: this.view.get().buckets.map((one) => (one.bucket === name ? { ...one, ...to } : one)) });
  }

  /** take applies a change at once, and has its bucket read anew soon. */
  private take(change: Change): void {
    for (const missed of this.late.get(change.bucket) ?? []) missed.push(change);
    this.change(change.bucket, apply(this.bucket(change.bucket), change, this.sort));
    if (change.type === "totals" || this.timers.has(change.bucket)) return;
    this.timers.set(
      change.bucket,
      setTimeout(() => {
        this.timers.delete(change.bucket);
        void this.read(change.bucket);
      }, settle),
    );
  }

  /** readAll reads what is shown of all buckets: in one request, where that is the first page of each. */
  private async readAll(): Promise<void> {
    if (this.view.get().known && names.some((name) => this.bucket(name).cursors.length > 1)) {
      await Promise.all(names.map((name) => this.read(name)));
      return;
    }
    await this.fetch([...names], async () => {
      const read = await overview(this.customer, this.sort, this.end.signal);
      this.set({ thresholds: read.thresholds, known: true });
      return read.parts;
    });
  }

  private read(name: Name): Promise<void> {
    return this.fetch([name], async () => {
      const cursor = this.bucket(name).cursors.at(-1) ?? "";
      return [await part(this.customer, name, this.sort, cursor, this.end.signal)];
    });
  }

  /** fetch reads pages, again until it succeeds, and shows them with the changes that came meanwhile. */
  private async fetch(of: Name[], get: () => Promise<Part[]>): Promise<void> {
    const turns = new Map(of.map((name) => [name, (this.turns.get(name) ?? 0) + 1]));
    for (const [name, turn] of turns) this.turns.set(name, turn);
    const current = (name: Name) => this.turns.get(name) === turns.get(name);
    for (let attempt = 0; !this.end.signal.aborted && of.some(current); attempt++) {
      const missed = new Map(of.map((name) => [name, [] as Change[]]));
      for (const [name, list] of missed) this.late.set(name, [...(this.late.get(name) ?? []), list]);
      try {
        for (const read of await get()) {
          if (current(read.bucket)) this.show(read, missed.get(read.bucket) ?? []);
        }
        return;
      } catch (failure) {
        if (this.end.signal.aborted) return;
        this.set({ problem: failure instanceof Error ? failure.message : String(failure) });
        await pause(delay(attempt, failure instanceof Unreachable ? failure.retryAfter : 0), this.end.signal).catch(() => undefined);
      } finally {
        for (const [name, list] of missed) this.late.set(name, (this.late.get(name) ?? []).filter((one) => one !== list));
      }
    }
  }

  private show(read: Part, missed: Change[]): void {
    const bucket = this.bucket(read.bucket);
    const fresh = new Set(bucket.orders.filter((order) => order.fresh).map((order) => order.id));
    const orders = read.orders.map((order) => (fresh.has(order.id) ? { ...order, fresh: true } : order));
    let shown: Bucket = { ...bucket, ...read, orders, loading: false };
    for (const change of missed) shown = apply(shown, change, this.sort);
    this.change(read.bucket, shown);
    if (this.view.get().problem && this.view.get().connection === "live") this.set({ problem: "" });
    // The last order of a page is gone: nobody wants to look at an empty one.
    if (shown.orders.length === 0 && shown.cursors.length > 1) this.turn(read.bucket, "previous");
  }
}

/** apply returns a bucket with a change. */
export function apply(bucket: Bucket, change: Change, sort: Sort): Bucket {
  switch (change.type) {
    case "totals":
      return { ...bucket, count: change.count, total: change.total };
    case "removed":
      return { ...bucket, orders: bucket.orders.filter((order) => order.id !== change.id) };
    case "order":
      return { ...bucket, orders: insert(bucket, change.order, sort) };
  }
}

/** insert puts an order in its place, if that is on the page that is shown. */
function insert(bucket: Bucket, order: Order, sort: Sort): Order[] {
  const { orders } = bucket;
  if (orders.some((one) => one.id === order.id)) return orders;
  const at = orders.findIndex((one) => before(order, one, sort));
  const first = bucket.cursors.length === 1;
  if (at === 0 && !first) return orders; // on an earlier page
  if (at < 0) return bucket.next === "" && (first || orders.length > 0) ? [...orders, order] : orders;
  return [...orders.slice(0, at), order, ...orders.slice(at)];
}
