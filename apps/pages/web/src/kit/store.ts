import { useEffect, useState } from "preact/hooks";

/** Store is a value that components follow. */
export class Store<T> {
  private readonly readers = new Set<() => void>();

  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  set(value: T): void {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const reader of [...this.readers]) reader();
  }

  update(change: (value: T) => T): void {
    this.set(change(this.value));
  }

  follow(reader: () => void): () => void {
    this.readers.add(reader);
    return () => this.readers.delete(reader);
  }
}

/** until resolves once a store's value is such; it rejects when the signal ends it. */
export function until<T>(store: Store<T>, such: (value: T) => boolean, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let leave = () => {};
    const done = () => {
      leave();
      signal.removeEventListener("abort", read);
    };
    const read = () => {
      if (signal.aborted) reject(signal.reason as Error);
      else if (such(store.get())) resolve();
      else return;
      done();
    };
    leave = store.follow(read);
    signal.addEventListener("abort", read);
    read();
  });
}

/** useStore returns a store's value and draws the component again when it changes. */
export function useStore<T>(store: Store<T>): T {
  const [value, setValue] = useState(() => store.get());
  useEffect(() => {
    const read = () => setValue(() => store.get());
    read();
    return store.follow(read);
  }, [store]);
  return value;
}
