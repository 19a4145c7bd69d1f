import { render } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import "../kit/kit.css";
import "./calculator.css";
import { Commands, type Sent } from "../kit/commands";
import type { NumberText } from "../kit/json";
import { useStore } from "../kit/store";
import { announce, decoded, Field, Outcomes, Page, short, twice, type Health } from "../kit/ui";
import { Detail } from "./detail";
import { List } from "./list";
import { readNumber } from "./number";

/** selected returns the value that the address names: #/values/{id}. */
function selected(): string {
  const match = /^#\/values\/(.+)$/.exec(location.hash);
  return match?.[1] ? decoded(match[1]) : "";
}

const address = (id: string) => `#/values/${encodeURIComponent(id)}`;

function Calculator() {
  const [id, setId] = useState(selected);
  const [health, setHealth] = useState<Health>({ state: "connecting", detail: "" });
  // The latest outcome: lists and details look again, with its token, so that they show its effect.
  const [latest, setLatest] = useState<Sent | null>(null);
  const commands = useMemo(
    () =>
      new Commands((sent) => {
        announce(`${sent.label}: ${sent.state}${sent.reason ? `, ${sent.reason}` : ""}`);
        setLatest(sent);
      }),
    [],
  );
  const sent = useStore(commands.list);
  useEffect(() => {
    const follow = () => setId(selected());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useEffect(() => {
    document.title = id ? `${short(id)} · Calculator · Tidemill` : "Calculator · Tidemill";
  }, [id]);
  const onHealth = useCallback((now: Health) => setHealth(now), []);

  return (
    <Page system="calculator" title="Calculator" health={health}>
      <div class="columns">
        <div class="stack">
          <Create commands={commands} />
          <List current={id} latest={latest} address={address} onHealth={onHealth} />
        </div>
        <div class="stack">
          {id ? (
            <Detail key={id} id={id} commands={commands} latest={latest} onHealth={onHealth} />
          ) : (
            <section class="card empty">
              <h2>No value chosen</h2>
              <p class="quiet">Create one, or choose one of the list, to add to it, multiply it, and see how it came to be.</p>
            </section>
          )}
          <Outcomes list={sent} link={(one) => (one.state === "accepted" && one.aggregate && one.aggregate !== id ? address(one.aggregate) : "")} />
        </div>
      </div>
    </Page>
  );
}

/** Create is the form for a new value. */
function Create(props: { commands: Commands }) {
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState("");
  const input = useRef<HTMLInputElement>(null);
  const change = (text: string) => {
    setTyped(text);
    setProblem(""); // until the next attempt it is being mended
  };
  const created = useRef(-twice);
  const create = async (value: NumberText) => {
    const sent = await props.commands.send({ label: `Create ${value}`, method: "POST", path: "/values", body: { value } });
    if (sent.state === "accepted") location.hash = address(sent.aggregate);
  };
  return (
    <section class="card" aria-labelledby="create-title">
      <h2 id="create-title">New value</h2>
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          // The second click of a double one finds a form that was emptied by the first.
          if (!typed && performance.now() - created.current < twice) return;
          const read = readNumber(typed);
          if ("problem" in read) {
            setProblem(read.problem);
            input.current?.focus();
            return;
          }
          created.current = performance.now();
          setTyped("");
          setProblem("");
          void create(read.number);
        }}
      >
        <div class="row">
          <Field label="Number" value={typed} onValue={change} inputMode="decimal" problem={problem} input={input} required maxLength={40} />
          <button type="submit">Create</button>
        </div>
      </form>
    </section>
  );
}

const root = document.getElementById("page");
if (root) {
  root.textContent = "";
  render(<Calculator />, root);
}
