import { useCallback, useSyncExternalStore } from "react";
import { presence } from "./presence.js";

/** @type {import("../types/react.js").useObservable} */
export function useObservable(observable) {
  return useSyncExternalStore(observable.subscribe, observable.get, observable.get);
}

/** @type {import("../types/react.js").useStatus} */
export function useStatus(connection) {
  return useObservable(connection.status);
}

/** @type {import("../types/react.js").usePresence} */
export function usePresence(socket, room) {
  const subscribe = useCallback(
    (/** @type {() => void} */ changed) => presence(socket, room).subscribe(changed),
    [socket, room],
  );
  const get = () => presence(socket, room).get();
  return useSyncExternalStore(subscribe, get, get);
}
