import { render } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import "../kit/kit.css";
import "./ordering.css";
import { Commands } from "../kit/commands";
import { numberText } from "../kit/json";
import { money, pasted, pence } from "../kit/money";
import { useStore } from "../kit/store";
import { announce, decoded, Field, Outcomes, Page, twice, type Health } from "../kit/ui";
import { bucketOf, type Order, type Sort, type Thresholds } from "./api";
import { BucketCard, title } from "./bucket";
import { Orders, type View } from "./orders";
import { useServices, type Services } from "./services";
import { useStill } from "./still";

/** named returns the customer that the address names: #/customers/{id}. */
function named(): string {
  const match = /^#\/customers\/(.+)$/.exec(location.hash);
  return match?.[1] ? decoded(match[1]) : "";
}

function Ordering() {
  const [customer, setCustomer] = useState(named);
  useEffect(() => {
    const follow = () => setCustomer(named());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  useEffect(() => {
    document.title = customer ? `${customer} · Ordering · Tidemill` : "Ordering · Tidemill";
  }, [customer]);
  return customer ? <Shop key={customer} customer={customer} /> : <Door />;
}

/** Door asks whose orders to show. */
function Door() {
  const [typed, setTyped] = useState("");
  return (
    <Page system="ordering" title="Ordering">
      <section class="card door">
        <h2>Whose orders?</h2>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (typed.trim()) location.hash = `#/customers/${encodeURIComponent(typed.trim())}`;
          }}
        >
          <div class="row">
            <Field label="Customer" value={typed} onValue={setTyped} required maxLength={128} hint="Any name will do; without authorization everybody is who they say." />
            <button type="submit">Show orders</button>
          </div>
        </form>
      </section>
    </Page>
  );
}

const sorts: { words: string; sort: Sort }[] = [
  { words: "Newest first", sort: { by: "time", descending: true } },
  { words: "Oldest first", sort: { by: "time", descending: false } },
  { words: "Dearest first", sort: { by: "price", descending: true } },
  { words: "Cheapest first", sort: { by: "price", descending: false } },
];

/** Shop is a customer's orders. */
function Shop(props: { customer: string }) {
  const { customer } = props;
  const [order, setOrder] = useState(0);
  const [cancelling, setCancelling] = useState<Set<string>>(new Set());
  const services = useServices();
  const orders = useMemo(() => new Orders(customer, (sorts[order] ?? sorts[0]!).sort), [order]);
  useEffect(() => {
    orders.start();
    return () => orders.stop();
  }, [orders]);
  const view = useStore(orders.view);
  const commands = useMemo(() => new Commands((sent) => announce(`${sent.label}: ${sent.state}${sent.reason ? `, ${sent.reason}` : ""}`)), []);
  const sent = useStore(commands.list);
  const still = useStill();
  const cancel = async (one: Order) => {
    setCancelling((all) => new Set(all).add(one.id));
    const { state } = await commands.send({
      label: `Cancel ${one.label}, ${money(one.price)}`, method: "DELETE",
      path: `/orders/${encodeURIComponent(one.id)}?customerId=${encodeURIComponent(customer)}`,
    });
    if (state === "accepted") return; // its row goes, maybe a moment later: there is nothing to cancel any more
    setCancelling((all) => new Set([...all].filter((id) => id !== one.id)));
  };
  return (
    <Page system="ordering" title={`Orders of ${customer}`} health={healthOf(view, services)}>
      <div class="shop">
        <div class="stack">
          <Place customer={customer} commands={commands} thresholds={view.thresholds} />
          <Outcomes list={sent} />
        </div>
        <div class="stack">
          <div class="tools">
            <label>
              <span>Sort</span>
              <select value={String(order)} onChange={(event) => setOrder(Number(event.currentTarget.value))}>
                {sorts.map((one, index) => (
                  <option key={one.words} value={String(index)}>
                    {one.words}
                  </option>
                ))}
              </select>
            </label>
            <a href="#/">Another customer</a>
          </div>
          <div class="buckets">
            {view.buckets.map((bucket) => (
              <BucketCard
                key={bucket.bucket}
                bucket={bucket}
                known={view.known}
                thresholds={view.thresholds}
                cancelling={cancelling}
                still={still}
                onCancel={(one) => void cancel(one)}
                onTurn={(to) => orders.turn(bucket.bucket, to)}
              />
            ))}
          </div>
        </div>
      </div>
    </Page>
  );
}

/** healthOf says what does not work, and what does all the same. */
function healthOf(view: View, services: Services): Health {
  const away: string[] = [];
  if (services.command) away.push(`Orders cannot be placed or cancelled now (${services.command}); what you send is kept and tried again.`);
  if (view.connection === "forbidden") away.push(`Orders are shown once you have signed in as somebody who may see them (${view.problem}).`);
  else if (view.connection === "ended") away.push(`Orders cannot be shown (${view.problem}).`);
  else if (view.connection === "lost" || services.query) {
    away.push(`Orders cannot be shown now (${services.query || view.problem}); what you see may be old. Trying again by itself.`);
  }
  if (away.length > 0) return { state: "lost", detail: away.join(" ") };
  return { state: view.connection === "live" && view.known ? "live" : "connecting", detail: "" };
}

/** The dearest that the command service takes, in pence. */
const dearest = 100_000_000n;

/** fault says what is wrong with a price, "" for nothing. The command service decides; this spares a request. */
function fault(pounds: string): string {
  if (!/^-?\d+(\.\d+)?$/.test(pounds)) return "Enter a price in pounds, such as 4.99.";
  const amount = pence(pounds);
  if (amount === null || /\.\d{3}/.test(pounds)) return "A price has whole pence: at most two places, such as 4.99.";
  if (pounds.startsWith("-")) return "A price cannot be negative.";
  return amount > dearest ? "That is more than £1,000,000.00." : "";
}

/** Place is the form for a new order. */
function Place(props: { customer: string; commands: Commands; thresholds: Thresholds }) {
  const [label, setLabel] = useState("");
  const [price, setPrice] = useState("");
  const [problems, setProblems] = useState({ label: "", price: "" });
  const labelInput = useRef<HTMLInputElement>(null);
  const priceInput = useRef<HTMLInputElement>(null);
  const placed = useRef(-twice);
  const amount = numberText(pasted(price));
  const bucket = amount ? bucketOf(amount.text, props.thresholds) : null;
  const change = (field: "label" | "price", typed: string) => {
    (field === "label" ? setLabel : setPrice)(typed);
    setProblems((known) => ({ ...known, [field]: "" })); // until the next attempt it is being mended
  };
  const place = () => {
    // The second click of a double one finds a form that was emptied by the first.
    if (!label && !price && performance.now() - placed.current < twice) return;
    const found = { label: label.trim() ? "" : "Say what to order.", price: fault(amount?.text ?? "") };
    setProblems(found);
    if (found.label) labelInput.current?.focus();
    else if (found.price) priceInput.current?.focus();
    if (found.label || found.price || !amount) return;
    void props.commands.send({
      label: `${label.trim()}, ${money(amount.text)}`, method: "POST", path: "/orders",
      body: { customerId: props.customer, itemLabel: label.trim(), itemPrice: amount },
    });
    placed.current = performance.now();
    setLabel("");
    setPrice("");
    labelInput.current?.focus();
  };
  return (
    <section class="card" aria-labelledby="place-title">
      <h2 id="place-title">Place an order</h2>
      <form
        noValidate
        class="place"
        onSubmit={(event) => {
          event.preventDefault();
          place();
        }}
      >
        <Field label="Item" value={label} onValue={(typed) => change("label", typed)} problem={problems.label} input={labelInput} required maxLength={200} />
        <Field
          label="Price"
          prefix="£"
          value={price}
          onValue={(typed) => change("price", typed)}
          inputMode="decimal"
          problem={problems.price}
          hint={bucket ? `goes to ${title(bucket).toLowerCase()}` : "in pounds and pence"}
          input={priceInput}
          required
          maxLength={20}
        />
        <button type="submit">Order</button>
      </form>
    </section>
  );
}

const root = document.getElementById("page");
if (root) {
  root.textContent = "";
  render(<Ordering />, root);
}
