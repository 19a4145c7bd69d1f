import { useEffect, useRef, useState } from "preact/hooks";
import type { Commands, Sent } from "../kit/commands";
import { delay, forbids, pause, signedIn, Unreachable } from "../kit/http";
import { stream } from "../kit/stream";
import { Field, twice, type Health } from "../kit/ui";
import { history, live, readValue, Refused, type Step, type Value } from "./api";
import { History } from "./history";
import { readNumber } from "./number";

/** Detail shows one value: what it is now, what can be done with it, and how it came to be. It follows the value's changes. */
export function Detail(props: { id: string; commands: Commands; latest: Sent | null; onHealth: (health: Health) => void }) {
  const { id } = props;
  const [now, setNow] = useState<Value | null>(null);
  const [missing, setMissing] = useState(false);
  const [steps, setSteps] = useState<Step[] | null>(null);
  const [more, setMore] = useState("");
  // looked counts the reasons to read the history: changes of the value, whoever made them.
  const [looked, setLooked] = useState(0);
  const shown = useRef("");

  useEffect(() => {
    const end = new AbortController();
    let there = false;
    void stream(
      live(id),
      {
        event: (event) => {
          if (event.type === "row") {
            const value = readValue(event.data);
            shown.current = value.value;
            there = true;
            setMissing(false);
            setNow(value);
            setLooked((count) => count + 1);
          } else if (event.type === "ready") {
            props.onHealth({ state: "live", detail: "" });
            setMissing(!there);
          }
        },
        resting: () => props.onHealth({ state: "connecting", detail: "" }),
        forbidden: (reason) => props.onHealth({ state: "lost", detail: `The value is shown once you have signed in as somebody who may see it (${reason}).` }),
        ended: () => setMissing(true),
        lost: (reason) => props.onHealth({ state: "lost", detail: `Not connected: ${reason}. Trying again by itself; what is shown may be old.` }),
      },
      end.signal,
    );
    return () => end.abort();
  }, [id]);

  useEffect(() => {
    if (looked === 0) return;
    const end = new AbortController();
    const mine = props.latest?.aggregate === id ? props.latest : null;
    void (async () => {
      for (let attempt = 0; !end.signal.aborted; attempt++) {
        try {
          const page = await history(id, "", end.signal);
          setSteps((known) => merge(page.items, known ?? []));
          setMore((cursor) => cursor || page.next);
          // The history is another view of the same events, and may be a moment behind.
          const level = page.items[0]?.result === shown.current && (mine?.events ?? []).every((event) => page.items.some((step) => step.event === event));
          if (level || attempt > 20) return;
          await pause(25 * (attempt + 1), end.signal);
        } catch (failure) {
          if (end.signal.aborted) return;
          if (failure instanceof Refused) {
            if (!forbids(failure.status)) return;
            await signedIn(end.signal).catch(() => undefined);
            continue;
          }
          const again = failure instanceof Unreachable ? failure.retryAfter : 0;
          await pause(delay(attempt, again), end.signal).catch(() => undefined);
        }
      }
    })();
    return () => end.abort();
  }, [id, looked, props.latest]);

  const older = async () => {
    const page = await history(id, more);
    setSteps((known) => merge(known ?? [], page.items));
    setMore(page.next);
  };

  if (missing && !now) {
    return (
      <section class="card empty">
        <h2>There is no such value</h2>
        <p class="quiet">
          Nothing is known of <code>{id}</code>. It is shown here as soon as it is created.
        </p>
      </section>
    );
  }
  return (
    <section class="card detail" aria-labelledby="detail-title">
      <h2 id="detail-title">
        Value <code>{id}</code>
      </h2>
      <p class={(now?.value.length ?? 0) > 12 ? "result long" : "result"} data-value={now?.value ?? ""}>
        {now ? now.value : "…"}
      </p>
      <Change id={id} commands={props.commands} />
      <History steps={steps} more={more !== ""} onMore={() => void older().catch(() => undefined)} />
    </section>
  );
}

/** merge joins pages of a history, the latest first, each event once. */
function merge(first: Step[], second: Step[]): Step[] {
  const all = new Map<string, Step>();
  for (const step of [...first, ...second]) all.set(step.number, step);
  return [...all.values()].sort((a, b) => Number(b.number) - Number(a.number));
}

/** Change is the form that adds to the value and multiplies it. */
function Change(props: { id: string; commands: Commands }) {
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const change = (text: string) => {
    setTyped(text);
    setProblem(""); // until the next attempt it is being mended
  };
  const changed = useRef(-twice);
  const send = (operation: "ADD" | "MULTIPLY") => {
    if (!typed && performance.now() - changed.current < twice) return; // the second click of a double one
    const read = readNumber(typed);
    if ("problem" in read) {
      setProblem(read.problem);
      input.current?.focus();
      return;
    }
    const operand = read.number;
    changed.current = performance.now();
    setProblem("");
    setTyped("");
    input.current?.focus();
    void props.commands.send({
      label: operation === "ADD" ? `Add ${operand}` : `Multiply by ${operand}`,
      method: "PUT", path: `/values/${encodeURIComponent(props.id)}`, body: { operation, value: operand },
    });
  };
  return (
    <form
      noValidate
      class="change"
      onSubmit={(event) => {
        event.preventDefault();
        send((event as SubmitEvent).submitter?.dataset["operation"] === "MULTIPLY" ? "MULTIPLY" : "ADD");
      }}
    >
      <div class="row">
        <Field label="Operand" value={typed} onValue={change} inputMode="decimal" problem={problem} input={input} required maxLength={40} />
        <div class="buttons">
          <button type="submit" data-operation="ADD">
            Add
          </button>
          <button type="submit" class="plain" data-operation="MULTIPLY">
            Multiply
          </button>
        </div>
      </div>
    </form>
  );
}
