import type { Connection, Member, Observable, PresenceSource, Status } from "./index.js";

/** The value of an observable; the component is rendered again when it changes. */
export function useObservable<T>(observable: Observable<T>): T;
/** What the connection is doing. */
export function useStatus(connection: Pick<Connection, "status">): Status;
/** Who is in a room. */
export function usePresence<Meta = any>(socket: PresenceSource, room: string): readonly Member<Meta>[];
