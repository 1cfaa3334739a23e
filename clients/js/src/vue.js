import { onScopeDispose, shallowRef, toValue, watch } from "vue";
import { presence } from "./presence.js";

/** @type {import("../types/vue.js").useObservable} */
export function useObservable(observable) {
  const value = shallowRef(observable.get());
  onScopeDispose(observable.subscribe((now) => (value.value = now)));
  return value;
}

/** @type {import("../types/vue.js").useStatus} */
export function useStatus(connection) {
  return useObservable(connection.status);
}

/** @type {import("../types/vue.js").usePresence} */
export function usePresence(socket, room) {
  /** @type {import("vue").ShallowRef<readonly import("../types/index.js").Member[]>} */
  const members = shallowRef([]);
  watch(
    () => toValue(room),
    (now, _, onCleanup) => onCleanup(presence(socket, now).subscribe((list) => (members.value = list))),
    { immediate: true },
  );
  return members;
}
