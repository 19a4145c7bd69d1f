import { useLayoutEffect, useRef } from "preact/hooks";

/** Within so many milliseconds after a row has moved, a pointer's click on it was meant for what stood there before. */
const settling = 500;

/**
 * useStill tells whether a click on an order's row was meant for it. A row that goes moves others under the pointer: the
 * second click of a double one would cancel another order. The keyboard (detail 0) goes to what has the focus, wherever
 * it stands. Places are those on the page: scrolling moves no row.
 */
export function useStill(): (id: string, click: MouseEvent) => boolean {
  const places = useRef(new Map<string, { right: number; top: number; since: number }>());
  useLayoutEffect(() => {
    const now = performance.now();
    const found: typeof places.current = new Map();
    for (const row of document.querySelectorAll<HTMLElement>("[data-order]")) {
      const id = row.dataset["order"] ?? "";
      const box = row.getBoundingClientRect();
      const [right, top] = [Math.round(box.right + scrollX), Math.round(box.top + scrollY)];
      const known = places.current.get(id);
      found.set(id, known?.right === right && known.top === top ? known : { right, top, since: now });
    }
    places.current = found;
  }); // whatever is drawn anew, above the rows as well, may move them
  return (id, click) => click.detail === 0 || click.timeStamp - (places.current.get(id)?.since ?? 0) >= settling;
}
