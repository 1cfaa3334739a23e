import type { MaybeRefOrGetter, ShallowRef } from "vue";
import type { Connection, Member, Observable, PresenceSource, Status } from "./index.js";

/** The value of an observable, as a ref. */
export function useObservable<T>(observable: Observable<T>): ShallowRef<T>;
/** What the connection is doing. */
export function useStatus(connection: Pick<Connection, "status">): ShallowRef<Status>;
/** Who is in a room, which may be a ref. */
export function usePresence<Meta = any>(
  socket: PresenceSource,
  room: MaybeRefOrGetter<string>,
): ShallowRef<readonly Member<Meta>[]>;
