import { useEffect, useState } from "preact/hooks";
import type { Sent } from "../kit/commands";
import { delay, forbids, pause, signedIn, Unreachable } from "../kit/http";
import { Field, short, type Health } from "../kit/ui";
import { Refused, values, type Page, type Value } from "./api";

/** List shows all values in the order of their ids, page by page. */
export function List(props: { current: string; latest: Sent | null; address: (id: string) => string; onHealth: (health: Health) => void }) {
  const [prefix, setPrefix] = useState("");
  // The cursors of the pages so far; the last one is shown.
  const [cursors, setCursors] = useState<string[]>([""]);
  const [page, setPage] = useState<Page<Value> | null>(null);
  const cursor = cursors[cursors.length - 1] ?? "";

  useEffect(() => {
    const end = new AbortController();
    void (async () => {
      for (let attempt = 0; !end.signal.aborted; attempt++) {
        try {
          setPage(await values(prefix.trim().toLowerCase(), cursor, end.signal));
          props.onHealth({ state: "live", detail: "" });
          return;
        } catch (failure) {
          if (end.signal.aborted) return;
          if (failure instanceof Refused && forbids(failure.status)) {
            props.onHealth({ state: "lost", detail: `The values are shown once you have signed in as somebody who may see them (${failure.message}).` });
            await signedIn(end.signal).catch(() => undefined);
            continue;
          }
          if (!(failure instanceof Unreachable)) {
            setPage({ items: [], next: "" });
            return;
          }
          props.onHealth({ state: "lost", detail: `The values cannot be read: ${failure.message}. Trying again by itself.` });
          await pause(delay(attempt, failure.retryAfter), end.signal).catch(() => undefined);
        }
      }
    })();
    return () => end.abort();
  }, [prefix, cursor, props.latest]);

  return (
    <section class="card" aria-labelledby="list-title">
      <h2 id="list-title">Values</h2>
      <Field
        label="Find by the beginning of the id"
        value={prefix}
        onValue={(value) => {
          setPrefix(value);
          setCursors([""]);
        }}
        maxLength={36}
      />
      {page && page.items.length === 0 && <p class="quiet none">{prefix ? "No id begins so." : "There are none yet."}</p>}
      {page && page.items.length > 0 && (
        <ul class="values">
          {page.items.map((one) => (
            <li key={one.id}>
              <a href={props.address(one.id)} aria-current={one.id === props.current ? "true" : undefined} title={one.id}>
                <code>{short(one.id)}</code>
                <span class="number">{one.value}</span>
              </a>
            </li>
          ))}
        </ul>
      )}
      {page && (cursors.length > 1 || page.next !== "") && (
        <div class="buttons pager">
          <button type="button" class="plain" disabled={cursors.length === 1} onClick={() => setCursors((all) => all.slice(0, -1))}>
            Previous
          </button>
          <button type="button" class="plain" disabled={page.next === ""} onClick={() => setCursors((all) => [...all, page.next])}>
            Next
          </button>
        </div>
      )}
    </section>
  );
}
