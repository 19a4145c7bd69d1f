import { Store } from "./store";

/**
 * looking tells whether somebody can see this tab. A browser has six connections to an origin over HTTP/1.1, which all its
 * tabs share: a hidden tab must hold none.
 */
export const looking = new Store(document.visibilityState !== "hidden");

let hiding = new AbortController();

/** untilHidden returns a signal that ends when the tab is hidden. It has ended already while the tab is. */
export const untilHidden = (): AbortSignal => hiding.signal;

function look(): void {
  const now = document.visibilityState !== "hidden";
  if (!now) hiding.abort();
  else if (hiding.signal.aborted) hiding = new AbortController();
  looking.set(now);
}

look();
document.addEventListener("visibilitychange", look);
