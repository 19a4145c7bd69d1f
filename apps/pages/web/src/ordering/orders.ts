import { delay, pause, Unreachable } from "../kit/http";
import { Store } from "../kit/store";
import { stream, type Event } from "../kit/stream";
import { changes, names, overview, part, readChange, type Name, type Part, type Sort, type Thresholds } from "./api";
import { Recent, place, without } from "./recent";

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
  /** forbidden: nothing comes until somebody signs in. ended: nothing comes any more. */
  connection: "connecting" | "live" | "lost" | "forbidden" | "ended";
  /** problem tells why nothing comes, "" where something does. */
  problem: string;
}

/** How long changes gather before a page is read anew whose neighbours they concern, in milliseconds. */
const gather = 150;

const empty = (bucket: Name): Bucket => ({ bucket, count: "", total: "", orders: [], next: "", cursors: [""], loading: false });

/**
 * Orders keeps the pages that are shown as they are on the server: it reads them once and then follows the customer's
 * changes. A change is shown at once. Only a page with others before or behind it is read anew, for what moves over.
 */
export class Orders {
  readonly view = new Store<View>({
    known: false, thresholds: { affordable: "", expensive: "" }, buckets: names.map(empty), connection: "connecting", problem: "",
  });
  private readonly end = new AbortController();
  private readonly recent = new Recent();
  /** stale: what is shown is not what the changes build on. */
  private stale = true;
  /** turns counts the reads of each bucket: only the latest counts. */
  private readonly turns = new Map<Name, number>();
  private readonly dirty = new Set<Name>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly customer: string,
    private readonly sort: Sort,
  ) {}

  /** start follows the changes until stop. */
  start(): void {
    void stream(
      changes(this.customer),
      {
        event: (event) => this.take(event),
        lost: (reason) => this.set({ connection: "lost", problem: reason }),
        resting: () => this.set({ connection: "connecting" }),
        forbidden: (reason) => this.set({ connection: "forbidden", problem: reason }),
        ended: (_, reason) => this.set({ connection: "ended", problem: reason }),
      },
      this.end.signal,
    );
  }

  stop(): void {
    clearTimeout(this.timer);
    this.end.abort();
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

  /** take takes in an event of the stream of changes. */
  private take(event: Event): void {
    switch (event.type) {
      case "reset":
        this.stale = true;
        this.recent.clear();
        return;
      case "ready":
        this.set({ connection: "live", problem: "" });
        if (this.stale) void this.readAll();
        this.stale = false;
        return;
    }
    const change = readChange(event.type, event.data);
    if (!change) return;
    this.recent.note(change);
    if (!this.view.get().known) return; // the read that is on its way shows it
    if (change.kind === "totals") this.change(change.bucket, { count: change.count, total: change.total });
    else this.apply(change.bucket, change.id, true);
  }

  /** apply shows what the latest change says of an order. */
  private apply(name: Name, id: string, live: boolean): void {
    const bucket = this.bucket(name);
    const order = this.recent.order(id);
    if (order === undefined) return;
    const first = bucket.cursors.length === 1;
    if (order === null) {
      const orders = without(bucket.orders, id);
      if (orders.length === bucket.orders.length && first) return;
      this.change(name, { orders });
      if (live && (!first || bucket.next !== "")) this.soon(name);
      return;
    }
    if (!first) {
      if (live) this.soon(name);
      return;
    }
    const placed = place(bucket.orders, { ...order, fresh: live }, this.sort, bucket.next !== "");
    this.change(name, { orders: placed.orders });
    if (live && placed.over) this.soon(name);
  }

  /** soon reads a page anew, once for all changes that come close together. */
  private soon(name: Name): void {
    this.dirty.add(name);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      for (const one of this.dirty) if (!this.bucket(one).loading) void this.read(one);
      this.dirty.clear();
    }, gather);
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
      try {
        const began = performance.now();
        for (const read of await get()) {
          if (current(read.bucket)) this.show(read, began);
        }
        return;
      } catch (failure) {
        if (this.end.signal.aborted) return;
        this.set({ problem: failure instanceof Error ? failure.message : String(failure) });
        await pause(delay(attempt, failure instanceof Unreachable ? failure.retryAfter : 0), this.end.signal).catch(() => undefined);
      }
    }
  }

  /** show shows a page as it was read, with the changes that it may be older than. */
  private show(read: Part, began: number): void {
    const bucket = this.bucket(read.bucket);
    const had = new Map(bucket.orders.map((order) => [order.id, order.fresh]));
    const orders = read.orders.map((order) => ({ ...order, fresh: had.get(order.id) ?? (bucket.count !== "" && !bucket.loading) }));
    const shown: Bucket = { ...bucket, ...read, ...this.recent.totals(read.bucket, began), orders, loading: false };
    this.change(read.bucket, shown);
    for (const id of this.recent.since(read.bucket, began)) this.apply(read.bucket, id, false);
    if (this.view.get().problem && this.view.get().connection === "live") this.set({ problem: "" });
    // The last order of a page is gone: nobody wants to look at an empty one.
    if (shown.orders.length === 0 && shown.cursors.length > 1) this.turn(read.bucket, "previous");
  }
}
