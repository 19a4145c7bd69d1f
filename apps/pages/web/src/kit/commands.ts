import { call, delay, forbids, pause, reasonOf, Unreachable, type Answer } from "./http";
import { NumberText, type Json } from "./json";
import { untilHidden } from "./looking";
import { Store } from "./store";

/** State is how far a command has come. */
export type State = "sending" | "pending" | "accepted" | "rejected" | "failed";

/** Sent is a command that this page has sent. */
export interface Sent {
  /** key is the Idempotency-Key: however often the request is sent, it is applied once. */
  key: string;
  label: string;
  state: State;
  /** id and token are known once the log has the command. */
  id: string;
  token: string;
  /** aggregate is what it was about. */
  aggregate: string;
  /** reason tells why it was rejected, or what is waited for. */
  reason: string;
  events: string[];
  /** took is how long the outcome took to be known here, in milliseconds. */
  took: number;
  at: Date;
}

export interface Request {
  label: string;
  method: string;
  path: string;
  body?: Json;
}

/** Most commands that are kept for show. */
const kept = 50;

/** Most outcomes that are waited for at once: a browser has six connections to an origin, and streams need theirs. */
const waiting = 2;

/** Commands sends commands and follows what becomes of them. */
export class Commands {
  /** list has the latest first. */
  readonly list = new Store<Sent[]>([]);

  /** settled is called with every outcome. */
  constructor(private readonly settled: (sent: Sent) => void) {}

  /** send sends a command and resolves with its outcome. It never rejects: whatever goes wrong is an outcome. */
  async send(request: Request): Promise<Sent> {
    const sent: Sent = {
      key: uuid(), label: request.label, state: "sending", id: "", token: "", aggregate: "", reason: "", events: [], took: 0,
      at: new Date(),
    };
    this.list.update((list) => [sent, ...list].slice(0, kept));
    const began = performance.now();
    let now = await this.deliver(request, sent);
    if (now.state === "pending") {
      await this.enter();
      now = await this.outcome(now).finally(() => this.leave());
    }
    now = this.change(now, { took: performance.now() - began });
    this.settled(now);
    return now;
  }

  private inside = 0;
  private readonly queue: (() => void)[] = [];

  private async enter(): Promise<void> {
    if (this.inside >= waiting) await new Promise<void>((resolve) => this.queue.push(resolve));
    else this.inside++;
  }

  private leave(): void {
    const next = this.queue.shift();
    if (next) next();
    else this.inside--;
  }

  private change(sent: Sent, to: Partial<Sent>): Sent {
    const changed = { ...sent, ...to };
    this.list.update((list) => list.map((one) => (one.key === changed.key ? changed : one)));
    return changed;
  }

  /** deliver sends until the log has the command, or it is refused. */
  private async deliver(request: Request, sent: Sent): Promise<Sent> {
    for (let attempt = 0; ; attempt++) {
      let answer: Answer;
      try {
        const headers = { "Idempotency-Key": sent.key, Prefer: "respond-async" };
        answer = await call(request.method, request.path, request.body === undefined ? { headers } : { headers, body: request.body });
      } catch (failure) {
        // It may have arrived all the same; the key makes sending it again harmless.
        const again = failure instanceof Unreachable ? failure.retryAfter : 0;
        sent = this.change(sent, { reason: `${message(failure)}; trying again` });
        await pause(delay(attempt, again));
        continue;
      }
      const body = members(answer.body);
      const id = text(body["id"]) || (answer.headers.get("Tidemill-Command-Id") ?? "");
      if (answer.status === 202) {
        return this.change(sent, { state: "pending", id, token: answer.headers.get("Tidemill-Token") ?? text(body["token"]), reason: "" });
      }
      if (answer.status < 300) return this.change(sent, { state: "accepted", id, reason: "" });
      return this.change(sent, { state: answer.status >= 500 ? "failed" : "rejected", id, reason: explain(answer) });
    }
  }

  /** outcome asks the subscriptions until they know. In a hidden tab it does not wait for the answer, but asks again. */
  private async outcome(sent: Sent): Promise<Sent> {
    const path = `/commands/${encodeURIComponent(sent.id)}${sent.token ? `?token=${encodeURIComponent(sent.token)}` : ""}`;
    for (let attempt = 0; ; attempt++) {
      const shown = untilHidden();
      const hidden = shown.aborted;
      try {
        const answer = await call("GET", path, hidden ? {} : { headers: { Prefer: "wait=10" }, signal: shown });
        const body = members(answer.body);
        const state = text(body["status"]);
        if (state === "accepted" || state === "rejected" || state === "failed") {
          const events = Array.isArray(body["events"]) ? body["events"].map((event) => text(members(event)["id"])) : [];
          return this.change(sent, { state, aggregate: text(body["aggregate"]), reason: text(body["reason"]), events });
        }
        if (answer.status === 200 && state === "pending" && !hidden) attempt = 0;
        else if (forbids(answer.status)) sent = this.change(sent, { reason: explain(answer) });
      } catch (failure) {
        if (!hidden && shown.aborted) continue;
        sent = this.change(sent, { reason: `${message(failure)}; the command is in the log, its outcome will be told` });
      }
      await pause(delay(attempt));
    }
  }
}

function message(failure: unknown): string {
  return failure instanceof Error ? failure.message : String(failure);
}

/** explain adds what is wrong with single members of the body to the reason. */
function explain(answer: Answer): string {
  const errors = members(answer.body)["errors"];
  const details = Array.isArray(errors) ? errors.map((error) => text(members(error)["detail"])).filter(Boolean) : [];
  const reason = reasonOf(answer);
  return details.length === 0 || reason.includes(details[0] ?? "") ? reason : details.join("; ");
}

/** members returns the members of an object, none for anything else. */
export function members(value: Json | undefined): { [name: string]: Json } {
  if (value === null || typeof value !== "object" || Array.isArray(value) || value instanceof NumberText) return {};
  return value;
}

/** text returns a string or the digits of a number, "" for anything else. */
export function text(value: Json | undefined): string {
  if (value instanceof NumberText) return value.text;
  return typeof value === "string" ? value : "";
}

/** uuid returns a random UUID; crypto.randomUUID is there over HTTPS and on localhost alone. */
function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
