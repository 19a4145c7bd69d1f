import { useEffect, useState } from "preact/hooks";
import { members, text } from "../kit/commands";
import { call, pause } from "../kit/http";

/** Services says what is wrong with each of the two services; "" where nothing is. */
export interface Services {
  command: string;
  query: string;
}

/** How often to ask, in milliseconds. */
const interval = 2000;

/** useServices asks the page's own server how the services behind it are, while somebody looks. */
export function useServices(): Services {
  const [services, setServices] = useState<Services>({ command: "", query: "" });
  useEffect(() => {
    const end = new AbortController();
    void (async () => {
      while (!end.signal.aborted) {
        if (!document.hidden) {
          try {
            const body = members((await call("GET", "/services.json", { anyone: true, signal: end.signal, timeout: 5000 })).body);
            setServices({ command: text(body["command"]), query: text(body["query"]) });
          } catch {
            // The stream of changes says that the server is away.
          }
        }
        await pause(interval, end.signal).catch(() => undefined);
      }
    })();
    return () => end.abort();
  }, []);
  return services;
}
