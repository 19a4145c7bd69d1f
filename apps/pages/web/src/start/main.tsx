import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "../kit/kit.css";
import "./start.css";
import { Page, systems } from "../kit/ui";

const words: Record<string, string> = {
  calculator: "Values are created, added to and multiplied. Each change is an event; the value's history is all of them.",
  ordering: "Orders are placed and cancelled, and appear at once in the customer's buckets: cheap, affordable, expensive.",
};

function Start() {
  const [list, setList] = useState<{ name: string; url: string }[]>([]);
  useEffect(() => {
    systems().then(setList, () => setList([]));
  }, []);
  return (
    <Page system="start" title="Two systems whose source of truth is a log">
      <ul class="systems">
        {list
          .filter((system) => words[system.name])
          .map((system) => (
            <li key={system.name}>
              <a class="card" href={system.url}>
                <h2>{system.name}</h2>
                <p class="quiet">{words[system.name]}</p>
              </a>
            </li>
          ))}
      </ul>
    </Page>
  );
}

const root = document.getElementById("page");
if (root) {
  root.textContent = "";
  render(<Start />, root);
}
