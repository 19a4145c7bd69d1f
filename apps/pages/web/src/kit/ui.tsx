import type { ComponentChildren } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import type { Sent } from "./commands";
import { call, refused, signIn } from "./http";
import { members, text } from "./commands";
import { Store, useStore } from "./store";

/** Health is what a page says about its way to the server. */
export interface Health {
  state: "connecting" | "live" | "lost";
  /** detail says what is not there, and what works all the same. */
  detail: string;
}

const spoken = new Store("");

/** announce tells people who do not see the page what has happened. */
export function announce(message: string): void {
  // The same words twice are another announcement.
  spoken.set(spoken.get() === message ? `${message}\u00a0` : message);
}

/** Page is what all pages have: a way past the navigation, the systems, the connection, who asks, and announcements. */
export function Page(props: { system: string; title: string; health?: Health; children: ComponentChildren }) {
  const message = useStore(spoken);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault(); // what stands behind the # names what is shown
          const main = document.getElementById("main");
          main?.focus();
          main?.scrollIntoView();
        }}
      >
        Skip to content
      </a>
      <header class="top">
        <div class="top-inner">
          <Mark />
          <Systems current={props.system} />
          {props.health && <Connection health={props.health} />}
        </div>
      </header>
      {props.health?.state === "lost" && (
        <p class="banner" role="alert">
          {props.health.detail}
        </p>
      )}
      <main id="main" tabIndex={-1}>
        <h1>{props.title}</h1>
        <SignIn />
        {props.children}
      </main>
      <div class="sr-only" role="status" aria-live="polite">
        {message}
      </div>
    </>
  );
}

function Mark() {
  return (
    <span class="mark">
      <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
        <path d="M2 8c3.3 0 3.3-3 6.7-3S12 8 15.300 8 18.700 5 22 5" />
        <path d="M2 13.500c3.300 0 3.300-3 6.700-3s3.300 3 6.600 3 3.400-3 6.700-3" />
        <path d="M2 19c3.300 0 3.300-3 6.700-3s3.300 3 6.600 3 3.400-3 6.700-3" />
      </svg>
      Tidemill
    </span>
  );
}

/** System is one of the reference systems, as /systems.json has it. */
interface System {
  name: string;
  url: string;
}

/** systems asks where the others are; alone, a page has no navigation. */
export async function systems(): Promise<System[]> {
  const answer = await call("GET", "/systems.json", { anyone: true });
  const list = members(answer.body)["systems"];
  return Array.isArray(list) ? list.map((one) => ({ name: text(members(one)["name"]), url: text(members(one)["url"]) })) : [];
}

function Systems(props: { current: string }) {
  const [list, setList] = useState<System[]>([]);
  useEffect(() => {
    systems().then(setList, () => setList([]));
  }, []);
  return (
    <nav aria-label="Systems">
      {list.map((system) => (
        <a key={system.name} href={system.url} aria-current={system.name === props.current ? "page" : undefined}>
          {system.name}
        </a>
      ))}
    </nav>
  );
}

function Connection(props: { health: Health }) {
  const words = { connecting: "Connecting", live: "Live", lost: "Not connected" };
  return (
    <span class={`connection ${props.health.state}`} role="status" data-connection={props.health.state}>
      <span class="dot" aria-hidden="true" />
      {words[props.health.state]}
    </span>
  );
}

/** SignIn asks for a bearer token where the server wants one. */
function SignIn() {
  const why = useStore(refused);
  const [typed, setTyped] = useState("");
  if (why === "") return null;
  return (
    <form
      class="card sign-in"
      onSubmit={(event) => {
        event.preventDefault();
        setTyped("");
        document.getElementById("main")?.focus(); // the form is about to go
        signIn(typed.trim());
      }}
    >
      <h2>Who are you?</h2>
      <p>The server wants a token: {why}. It is kept until this tab is closed.</p>
      <div class="row">
        <Field label="Bearer token" type="password" value={typed} onValue={setTyped} autocomplete="off" required />
        <button type="submit">Use token</button>
      </div>
    </form>
  );
}

/** Within so many milliseconds a click on an emptied form belongs to the one that emptied it. */
export const twice = 700;

/** Field is a labelled input that says what is wrong with it. */
export function Field(props: {
  label: string;
  value: string;
  onValue: (value: string) => void;
  type?: "text" | "password";
  hint?: string;
  problem?: string;
  inputMode?: "text" | "decimal";
  autocomplete?: string;
  required?: boolean;
  placeholder?: string;
  prefix?: string;
  maxLength?: number;
  input?: { current: HTMLInputElement | null };
}) {
  const id = useId();
  const notes = [props.problem && `${id}-problem`, props.hint && `${id}-hint`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <div class={props.prefix ? "input prefixed" : "input"}>
        {props.prefix && <span aria-hidden="true">{props.prefix}</span>}
        <input
          id={id}
          ref={(element) => {
            if (props.input) props.input.current = element;
          }}
          type={(props.type ?? "text") as "text"}
          value={props.value}
          inputMode={props.inputMode ?? "text"}
          autocomplete={props.autocomplete ?? "off"}
          placeholder={props.placeholder ?? ""}
          maxLength={props.maxLength ?? 2000}
          required={props.required ?? false}
          aria-invalid={props.problem ? "true" : undefined}
          aria-describedby={notes || undefined}
          onInput={(event) => props.onValue(event.currentTarget.value)}
        />
      </div>
      {props.problem && (
        <p class="problem" id={`${id}-problem`}>
          {props.problem}
        </p>
      )}
      {props.hint && !props.problem && (
        <p class="hint" id={`${id}-hint`}>
          {props.hint}
        </p>
      )}
    </div>
  );
}

/** Outcomes lists the commands of this page with what became of them. */
export function Outcomes(props: { list: Sent[]; link?: (sent: Sent) => string }) {
  return (
    <section class="card outcomes" aria-labelledby="outcomes-title">
      <h2 id="outcomes-title">Commands</h2>
      {props.list.length === 0 ? (
        <p class="quiet">What you ask for is listed here, with what became of it.</p>
      ) : (
        <ol tabIndex={0}>
          {props.list.map((sent) => (
            <li key={sent.key} data-command={sent.id} data-state={sent.state}>
              <div class="outcome-head">
                <span class="outcome-label">{props.link?.(sent) ? <a href={props.link(sent)}>{sent.label}</a> : sent.label}</span>
                <span class={`pill ${sent.state}`}>{sent.state}</span>
              </div>
              {sent.reason !== "" && <p class="reason">{sent.reason}</p>}
              <p class="quiet small">
                <time dateTime={iso(sent.at)}>{clock(sent.at)}</time>
                {sent.took > 0 && <> · known after {Math.max(1, Math.round(sent.took))} ms</>}
                {sent.id !== "" && (
                  <>
                    {" "}
                    · <code title={sent.id}>{short(sent.id)}</code>
                  </>
                )}
              </p>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

/** decoded undoes encodeURIComponent. What somebody typed into the address may be no such thing, and stays as it is. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** iso writes a time for machines, "" for one that no calendar has. */
export const iso = (at: Date) => (Number.isNaN(at.getTime()) ? "" : at.toISOString());

/** clock writes a time of today as hours, minutes and seconds, and any other with its date. */
export function clock(at: Date): string {
  if (Number.isNaN(at.getTime())) return "at no known time";
  const today = new Date().toDateString() === at.toDateString();
  const time = at.toLocaleTimeString("en-GB");
  return today ? time : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}

/** short is enough of an id to tell it from others by eye. */
export function short(id: string): string {
  return /^[0-9a-f]{8}-/.test(id) ? id.slice(0, 8) : id.length > 14 ? `${id.slice(0, 12)}…` : id;
}
