import { authorization, delay, either, forbids, note, pause, reasonOf, refused, signedIn, signIns } from "./http";
import { parse } from "./json";
import { looking, untilHidden } from "./looking";
import { until } from "./store";

/** Event is one server-sent event. */
export interface Event {
  type: string;
  data: string;
}

export interface Reader {
  /** event takes one event. */
  event(event: Event): void;
  /** opened: the server answered; resumed tells that it goes on after the last event. */
  opened?(resumed: boolean): void;
  /** lost: the connection is gone; another attempt follows by itself. */
  lost?(reason: string): void;
  /** resting: the tab is hidden and holds no connection; it goes on when somebody looks at it. */
  resting?(): void;
  /** forbidden: the server wants to know who asks, or somebody else to ask; another attempt follows as soon as somebody signs in. */
  forbidden?(reason: string): void;
  /** ended: the server will not serve this, and nothing is tried any more. */
  ended?(status: number, reason: string): void;
}

/** The server sends a comment at least every 15 s; without any sign for so long the connection is dead. */
const silence = 40_000;

/**
 * stream reads server-sent events until the signal ends it. It connects again whenever the connection is lost, and goes on
 * after the last event; while the tab is hidden it has none. After 401 and 403 it waits until somebody signs in, and whoever signs in while it is open is whom it
 * is opened again for. EventSource would do too, but it sends no Authorization header and hides why it failed.
 */
export async function stream(path: string, reader: Reader, signal: AbortSignal): Promise<void> {
  let last = "";
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      await until(looking, (is) => is, signal);
    } catch {
      return;
    }
    const connection = new AbortController();
    const shown = untilHidden();
    const asked = signIns.get();
    const unfollow = signIns.follow(() => connection.abort());
    let atLeast = 0;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream", ...authorization() };
      if (last) headers["Last-Event-ID"] = last;
      const response = await fetch(path, { headers, signal: either([signal, connection.signal, shown]), cache: "no-store" });
      if (response.status !== 200 || !response.body) {
        const reason = await explain(response);
        if (response.status === 400 && last) {
          // The server does not know the place: it was made anew, or another one. What it has now is told from the beginning.
          last = "";
          reader.event({ type: "reset", data: "{}" });
          throw new Error(reason);
        }
        if (forbids(response.status)) {
          if (signIns.get() === asked) {
            reader.forbidden?.(reason);
            await signedIn(signal);
          }
          attempt = -1;
          continue;
        }
        if (response.status < 500 && response.status !== 429) {
          reader.ended?.(response.status, reason);
          return;
        }
        atLeast = 1000 * Number(response.headers.get("Retry-After") ?? 0);
        throw new Error(reason);
      }
      refused.set("");
      reader.opened?.(last !== "");
      attempt = 0;
      await read(response.body, connection, (type, data, id) => {
        if (id !== null) last = id;
        if (data !== null) reader.event({ type, data });
      });
      throw new Error("the server closed the connection");
    } catch (failure) {
      connection.abort();
      if (signal.aborted) return;
      if (shown.aborted) reader.resting?.();
      if (shown.aborted || signIns.get() !== asked) {
        attempt = -1;
        continue;
      }
      reader.lost?.(failure instanceof Error && failure.name !== "TypeError" ? failure.message : "the server does not answer");
    } finally {
      unfollow();
    }
    try {
      await pause(delay(attempt, atLeast), signal);
    } catch {
      return;
    }
  }
}

async function explain(response: Response): Promise<string> {
  const answer = { status: response.status, headers: response.headers, body: null as ReturnType<typeof parse> };
  try {
    answer.body = parse(await response.text());
  } catch {
    // A problem without a document: its status says enough.
  }
  note(answer);
  return reasonOf(answer);
}

/** read takes a body apart into events, as the HTML standard has it (section 9.2.6). */
async function read(
  body: ReadableStream<Uint8Array>,
  connection: AbortController,
  take: (type: string, data: string | null, id: string | null) => void,
): Promise<void> {
  const chunks = body.getReader();
  const decoder = new TextDecoder();
  let buffer = "";
  let type = "";
  let data: string[] = [];
  let id: string | null = null;
  let watchdog = setTimeout(() => connection.abort(), silence);
  try {
    for (;;) {
      const { done, value } = await chunks.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(() => connection.abort(), silence);
      buffer += decoder.decode(value, { stream: true });
      const lines = buffer.split(/\r\n|\n|\r(?!$)/);
      buffer = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0 || id !== null) take(type || "message", data.length > 0 ? data.join("\n") : null, id);
          [type, data, id] = ["", [], null];
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "event") type = text;
        else if (field === "data") data.push(text);
        else if (field === "id") id = text;
      }
    }
  } finally {
    clearTimeout(watchdog);
  }
}
