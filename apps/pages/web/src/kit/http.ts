import { encode, parse, type Json } from "./json";
import { Store, until } from "./store";

/** Unreachable: no answer came, or one that says to come again. */
export class Unreachable extends Error {
  constructor(
    message: string,
    /** When to come again, in milliseconds; 0 where nobody said. */
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}

/** Answer is what the server said. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Json;
}

export interface Call {
  body?: Json;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** anyone may ask this: it is asked without the token, and its answer says nothing about who is signed in. */
  anyone?: boolean;
  /** Bound of the whole exchange in milliseconds. */
  timeout?: number;
}

const tokenName = "tidemill-token";

/** bearer is the token sent with every request; it ends with the tab. */
export const bearer = new Store(sessionStorage.getItem(tokenName) ?? "");
bearer.follow(() => sessionStorage.setItem(tokenName, bearer.get()));

/** refused holds why the server wants to know who asks, "" where it does not. */
export const refused = new Store("");

/** signIns counts how often somebody signed in on this page. */
export const signIns = new Store(0);

/** signIn sends a token with all requests from now on; who waits for one goes on. */
export function signIn(token: string): void {
  bearer.set(token);
  refused.set("");
  signIns.update((count) => count + 1);
}

/** signedIn resolves when somebody signs in the next time; it rejects when the signal ends it. */
export function signedIn(signal: AbortSignal): Promise<void> {
  const before = signIns.get();
  return until(signIns, (count) => count !== before, signal);
}

/** forbids: the answer of such a status is another one for somebody else. */
export const forbids = (status: number) => status === 401 || status === 403;

export function authorization(): Record<string, string> {
  return bearer.get() ? { Authorization: `Bearer ${bearer.get()}` } : {};
}

/** call sends a request. It throws Unreachable for 502, 503, 504 and where nothing answers; all else is an Answer. */
export async function call(method: string, path: string, how: Call = {}): Promise<Answer> {
  const signals = [AbortSignal.timeout(how.timeout ?? 15_000)];
  if (how.signal) signals.push(how.signal);
  const headers: Record<string, string> = { Accept: "application/json", ...(how.anyone ? {} : authorization()), ...how.headers };
  const init: RequestInit = { method, headers, signal: either(signals), cache: "no-store" };
  if (how.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = encode(how.body);
  }
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, init);
    text = await response.text();
  } catch (failure) {
    if (how.signal?.aborted) throw failure;
    throw new Unreachable("the server does not answer");
  }
  let body: Json = null;
  try {
    if (text !== "" && (response.headers.get("Content-Type") ?? "").includes("json")) body = parse(text);
  } catch {
    throw new Unreachable("the server's answer cannot be read");
  }
  const answer = { status: response.status, headers: response.headers, body };
  if ([502, 503, 504].includes(response.status)) {
    throw new Unreachable(reasonOf(answer), 1000 * Number(response.headers.get("Retry-After") ?? 0));
  }
  if (!how.anyone) note(answer);
  return answer;
}

/** note remembers whether the server wants a token. It is told the answers to requests that need authorization alone. */
export function note(answer: Answer): void {
  if (forbids(answer.status)) refused.set(reasonOf(answer));
  else if (answer.status < 400) refused.set("");
}

/** reasonOf returns what a problem document tells a person (RFC 9457). */
export function reasonOf(answer: Answer): string {
  const body = answer.body;
  if (body !== null && typeof body === "object" && !Array.isArray(body) && "detail" in body && typeof body.detail === "string") {
    return body.detail;
  }
  return `the server answered ${answer.status}`;
}

/** either returns a signal that ends with the first of several. */
export function either(signals: AbortSignal[]): AbortSignal {
  if ("any" in AbortSignal) return AbortSignal.any(signals);
  const controller = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) controller.abort(signal.reason);
    signal.addEventListener("abort", () => controller.abort(signal.reason), { once: true });
  }
  return controller.signal;
}

/** pause waits, unless the signal ends it. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      },
      { once: true },
    );
  });
}

/** delay is how long to wait before the next attempt: 250 ms at first, 4 s at most, and never in step with others. */
export function delay(attempt: number, atLeast = 0): number {
  return Math.max(atLeast, Math.min(4000, 250 * 2 ** Math.min(attempt, 5)) * (0.75 + Math.random() / 2));
}
