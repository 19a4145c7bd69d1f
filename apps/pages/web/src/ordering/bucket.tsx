import { useLayoutEffect, useRef } from "preact/hooks";
import { money, thousands } from "../kit/money";
import { clock, iso } from "../kit/ui";
import { size, type Name, type Order, type Thresholds } from "./api";
import type { Bucket } from "./orders";

const titles: Record<Name, string> = { CHEAP: "Cheap", AFFORDABLE: "Affordable", EXPENSIVE: "Expensive" };

/** title is what a bucket is called. */
export const title = (name: Name) => titles[name];

function range(name: Name, thresholds: Thresholds): string {
  if (thresholds.affordable === "") return "\u00a0";
  if (name === "CHEAP") return `below ${money(thresholds.affordable)}`;
  if (name === "EXPENSIVE") return `above ${money(thresholds.expensive)}`;
  return `${money(thresholds.affordable)} to ${money(thresholds.expensive)}`;
}

/** BucketCard shows one page of a bucket. */
export function BucketCard(props: {
  bucket: Bucket;
  known: boolean;
  thresholds: Thresholds;
  cancelling: Set<string>;
  /** still: whether a click was meant for the order. */
  still: (id: string, click: MouseEvent) => boolean;
  onCancel: (order: Order) => void;
  onTurn: (to: "next" | "previous" | "first") => void;
}) {
  const { bucket } = props;
  const page = bucket.cursors.length;
  const paged = page > 1 || bucket.next !== "";
  const heading = useRef<HTMLHeadingElement>(null);
  // A row that goes while it has the focus hands it on: a keyboard's user would be at the top of the page otherwise.
  const focused = useRef("");
  useLayoutEffect(() => {
    if (focused.current === "" || bucket.orders.some((order) => order.id === focused.current)) return;
    focused.current = "";
    if (document.activeElement === document.body || document.activeElement === null) heading.current?.focus();
  }, [bucket.orders]);
  const turn = (to: "next" | "previous" | "first") => {
    heading.current?.focus();
    props.onTurn(to);
  };
  return (
    <section class="card bucket" aria-labelledby={`bucket-${bucket.bucket}`} data-bucket={bucket.bucket} data-count={bucket.count} data-total={bucket.total} aria-busy={bucket.loading}>
      <header>
        <h2 id={`bucket-${bucket.bucket}`} tabIndex={-1} ref={heading}>
          {titles[bucket.bucket]}
        </h2>
        <p class="quiet small">{range(bucket.bucket, props.thresholds)}</p>
        <p class="sum">
          <span>{props.known ? `${thousands(bucket.count)} ${bucket.count === "1" ? "order" : "orders"}` : "…"}</span>
          <span class="number">{props.known && money(bucket.total)}</span>
        </p>
      </header>
      {props.known && bucket.orders.length === 0 && !bucket.loading && <p class="quiet none">Nothing here yet.</p>}
      <ul
        onFocusIn={(event) => {
          focused.current = (event.target as HTMLElement).closest("li")?.dataset["order"] ?? "";
        }}
      >
        {bucket.orders.map((order) => (
          <Row key={order.id} order={order} cancelling={props.cancelling.has(order.id)} still={props.still} onCancel={props.onCancel} />
        ))}
      </ul>
      {paged && (
        <nav class="pager" aria-label={`Pages of ${titles[bucket.bucket]}`}>
          <button type="button" class="plain" disabled={page === 1} aria-label={`First page of ${titles[bucket.bucket]}`} onClick={() => turn("first")}>
            «
          </button>
          <button type="button" class="plain" disabled={page === 1} aria-label={`Previous page of ${titles[bucket.bucket]}`} onClick={() => turn("previous")}>
            ‹
          </button>
          <span class="quiet small" data-page={page}>
            Page {thousands(String(page))} of {pages(bucket)}
          </span>
          <button type="button" class="plain" disabled={bucket.next === ""} aria-label={`Next page of ${titles[bucket.bucket]}`} onClick={() => turn("next")}>
            ›
          </button>
        </nav>
      )}
    </section>
  );
}

function pages(bucket: Bucket): string {
  const full = (BigInt(bucket.count || "0") + BigInt(size - 1)) / BigInt(size);
  const least = BigInt(bucket.cursors.length + (bucket.next === "" ? 0 : 1));
  return thousands((full > least ? full : least).toString());
}

function Row(props: { order: Order; cancelling: boolean; still: (id: string, click: MouseEvent) => boolean; onCancel: (order: Order) => void }) {
  const { order } = props;
  return (
    <li class={order.fresh ? "new" : undefined} data-order={order.id}>
      <span class="label">
        {order.label}
        <time class="quiet small" dateTime={iso(new Date(Number(order.placedAt)))}>
          {clock(new Date(Number(order.placedAt)))}
        </time>
      </span>
      <span class="number">{money(order.price)}</span>
      <button
        type="button"
        class="plain cancel"
        aria-disabled={props.cancelling}
        aria-label={`Cancel ${order.label}, ${money(order.price)}`}
        onClick={(event) => {
          if (!props.cancelling && props.still(order.id, event)) props.onCancel(order);
        }}
      >
        {props.cancelling ? "…" : "×"}
      </button>
    </li>
  );
}
