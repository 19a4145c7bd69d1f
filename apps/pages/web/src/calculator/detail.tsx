import { useEffect, useRef, useState } from "preact/hooks";
import type { Commands, Sent } from "../kit/commands";
import { delay, pause, Unreachable } from "../kit/http";
import { numberText } from "../kit/json";
import { stream } from "../kit/stream";
import { Field, twice, type Health } from "../kit/ui";
import { history, outcomes, Refused, value, type Step, type Value } from "./api";
import { History } from "./history";

/** Detail shows one value: what it is now, what can be done with it, and how it came to be. */
export function Detail(props: { id: string; commands: Commands; latest: Sent | null; onHealth: (health: Health) => void }) {
  const { id } = props;
  const [now, setNow] = useState<Value | null>(null);
  const [missing, setMissing] = useState("");
  const [steps, setSteps] = useState<Step[] | null>(null);
  const [more, setMore] = useState("");
  // looked counts the reasons to look again: outcomes of anybody's commands on this value.
  const [looked, setLooked] = useState(0);

  useEffect(() => {
    const end = new AbortController();
    let soon: ReturnType<typeof setTimeout> | undefined;
    const look = () => {
      clearTimeout(soon);
      soon = setTimeout(() => setLooked((count) => count + 1), 30);
    };
    void stream(
      outcomes(id),
      {
        opened: () => {
          props.onHealth({ state: "live", detail: "" });
          look();
        },
        event: (event) => {
          if (event.type === "accepted") look();
        },
        lost: (reason) => props.onHealth({ state: "lost", detail: `Not connected: ${reason}. Trying again by itself; what is shown may be old.` }),
      },
      end.signal,
    );
    return () => {
      clearTimeout(soon);
      end.abort();
    };
  }, [id]);

  useEffect(() => {
    const end = new AbortController();
    const mine = props.latest?.aggregate === id ? props.latest : null;
    void (async () => {
      for (let attempt = 0; !end.signal.aborted; attempt++) {
        try {
          setNow(await value(id, mine?.token ?? "", end.signal));
          setMissing("");
          const page = await history(id, "", end.signal);
          setSteps((known) => merge(page.items, known ?? []));
          setMore((cursor) => cursor || page.next);
          // The history is another view of the same events, and may be a moment behind.
          if (attempt > 20 || !mine || mine.events.every((event) => page.items.some((step) => step.event === event))) return;
          await pause(25 * (attempt + 1), end.signal);
        } catch (failure) {
          if (end.signal.aborted) return;
          if (failure instanceof Refused) {
            setMissing(failure.message);
            return;
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
        <p class="quiet">{missing}</p>
      </section>
    );
  }
  return (
    <section class="card detail" aria-labelledby="detail-title">
      <h2 id="detail-title">
        Value <code>{id}</code>
      </h2>
      <p class="result" data-value={now?.value ?? ""}>
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
  const changed = useRef(-twice);
  const send = (operation: "ADD" | "MULTIPLY") => {
    if (!typed && performance.now() - changed.current < twice) return; // the second click of a double one
    const operand = numberText(typed);
    if (!operand) {
      setProblem("Enter a number, such as 3 or -0.25.");
      input.current?.focus();
      return;
    }
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
        <Field label="Operand" value={typed} onValue={setTyped} inputMode="decimal" problem={problem} input={input} required maxLength={40} />
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
