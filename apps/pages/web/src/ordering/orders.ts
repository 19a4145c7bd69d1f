import { delay, pause, Unreachable } from "../kit/http";
import { Store } from "../kit/store";
import { stream } from "../kit/stream";
import { names, outcomes, overview, part, type Name, type Part, type Sort, type Thresholds } from "./api";

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

/** When to read again after an outcome, in milliseconds; the last holds from then on. */
const pauses = [20, 40, 80, 200, 500, 1000, 4000];

const empty = (bucket: Name): Bucket => ({ bucket, count: "", total: "", orders: [], next: "", cursors: [""], loading: false });

/** Orders keeps the pages that are shown as they are on the server: it reads them anew after each outcome of the customer's commands. */
export class Orders {
  readonly view = new Store<View>({
    known: false, thresholds: { affordable: "", expensive: "" }, buckets: names.map(empty), connection: "connecting", problem: "",
  });
  private readonly end = new AbortController();
  private step = 0;
  private wake: () => void = () => undefined;
  /** turns counts the reads of each bucket: only the latest counts. */
  private readonly turns = new Map<Name, number>();

  constructor(
    private readonly customer: string,
    private readonly sort: Sort,
  ) {}

  /** start follows the changes until stop. */
  start(): void {
    void stream(
      outcomes(this.customer),
      {
        opened: () => {
          this.set({ connection: "live", problem: "" });
          this.soon();
        },
        event: (event) => {
          if (event.type === "accepted") this.soon();
        },
        lost: (reason) => this.set({ connection: "lost", problem: reason }),
        ended: (_, reason) => this.set({ connection: "lost", problem: reason }),
      },
      this.end.signal,
    );
    void this.follow();
  }

  /** follow reads what is shown again and again: soon after an outcome, for the query service has it a blink later, then seldom. */
  private async follow(): Promise<void> {
    while (!this.end.signal.aborted) {
      await this.readAll();
      const calm = new Promise<void>((resolve) => (this.wake = resolve));
      await Promise.race([calm, pause(pauses[Math.min(this.step++, pauses.length - 1)] ?? 0, this.end.signal).catch(() => undefined)]);
    }
  }

  private soon(): void {
    this.step = 0;
    this.wake();
  }

  stop(): void {
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
        for (const read of await get()) {
          if (current(read.bucket)) this.show(read);
        }
        return;
      } catch (failure) {
        if (this.end.signal.aborted) return;
        this.set({ problem: failure instanceof Error ? failure.message : String(failure) });
        await pause(delay(attempt, failure instanceof Unreachable ? failure.retryAfter : 0), this.end.signal).catch(() => undefined);
      }
    }
  }

  private show(read: Part): void {
    const bucket = this.bucket(read.bucket);
    const had = new Map(bucket.orders.map((order) => [order.id, order.fresh]));
    const orders = read.orders.map((order) => ({ ...order, fresh: had.get(order.id) ?? (bucket.count !== "" && !bucket.loading) }));
    const shown: Bucket = { ...bucket, ...read, orders, loading: false };
    this.change(read.bucket, shown);
    if (this.view.get().problem && this.view.get().connection === "live") this.set({ problem: "" });
    // The last order of a page is gone: nobody wants to look at an empty one.
    if (shown.orders.length === 0 && shown.cursors.length > 1) this.turn(read.bucket, "previous");
  }
}
