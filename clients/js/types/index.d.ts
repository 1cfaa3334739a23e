import type { ManagerOptions, Socket, SocketOptions } from "socket.io-client";

/** Where a connection runs. */
export type Place = "page" | "worker" | "shared-worker";

/** The events of one direction: their names, and functions that take their arguments. As the stock client has them. */
export interface EventsMap {
  [event: string]: any;
}

/** A value that changes; a Svelte store as it is. */
export interface Observable<T> {
  get(): T;
  /** Call a function with the value, now and whenever it changes. The function that is returned ends it. */
  subscribe(listener: (value: T) => void): () => void;
}

export interface Status {
  /**
   * - `idle`: nothing is to be connected
   * - `connecting`: a host is asked
   * - `connected`
   * - `waiting`: until `retryAt`, when the next host is asked
   * - `offline`: until there is a network
   * - `refused`: the server does not want us; `error` says why
   * - `kicked`: the server has thrown us out for good; `kick` says why
   * - `signed-out`: by `signOut()`, here or in another tab, or since `getToken()` has none
   * - `closed`: by `close()`
   */
  state: "idle" | "connecting" | "connected" | "waiting" | "offline" | "refused" | "kicked" | "signed-out" | "closed";
  /** The host that is in use, or whose turn it is. */
  host: string;
  /** Whether that is the first of `hosts`. */
  isMain: boolean;
  /** Attempts that failed since the last connection. */
  failures: number;
  /** When the next attempt is made, in milliseconds since 1970. */
  retryAt?: number;
  error?: { message: string; data?: unknown };
  kick?: Kick;
  /** Where the connection runs, which may be another place than `runIn` asked for. */
  runsIn: Place;
}

export interface Kick {
  /** The server's words. */
  reason: string;
  /** Whether we may come back with new credentials; this is tried by itself. */
  reconnect: boolean;
}

export interface TokenRequest {
  /**
   * `connect`: any token that is good will do. The others want a new one: `refresh`, while connected; `expired`,
   * `revoked` and `kicked`, since the last one was refused.
   */
  reason: "connect" | "refresh" | "expired" | "revoked" | "kicked";
  /** The seconds that the old token is still good, when the server asks in time. */
  expiresIn?: number;
}

export interface RetryOptions {
  /** Milliseconds before the second attempt, 1000. They double each time that all hosts have failed. */
  min: number;
  /** The most milliseconds, 5000. */
  max: number;
  /** Part by which these times are longer or shorter, at random, 0.5. */
  jitter: number;
}

type Owned =
  | "autoConnect"
  | "hostname"
  | "host"
  | "port"
  | "secure"
  | "path"
  | "auth"
  | "reconnection"
  | "reconnectionAttempts"
  | "reconnectionDelay"
  | "reconnectionDelayMax"
  | "randomizationFactor"
  | "forceNew"
  | "multiplex";

type StockOptions = Partial<Omit<ManagerOptions & SocketOptions, Owned>>;

export interface ConnectOptions extends StockOptions {
  /** The main host, then the backups, as origins such as `"https://a.example.org"`. By default the page's own. */
  hosts?: string | readonly string[];
  /** The path of the endpoint, `"/socket.io"`. */
  path?: string;
  /** The namespace of `connection.socket`, `"/"`. */
  namespace?: string;
  /** What is sent with each CONNECT, or a function for it. */
  auth?: object | (() => object | Promise<object>);
  /**
   * Get a token, or a whole `auth` object; `null` if nobody is signed in. Asked for each CONNECT, when the server asks
   * (`refresh_token`), and when a token was refused.
   */
  getToken?: (request: TokenRequest) => string | object | null | Promise<string | object | null>;
  /**
   * Tell the server which device this is, as `auth.device`: an id that is kept in localStorage, and when it was here
   * last. False.
   */
  device?: boolean;
  /** The server throws us out. */
  onKicked?: (kick: Kick) => void;
  /** `signOut()` was called, here or in another tab. */
  onSignedOut?: () => void;
  /** Where the connection runs: `"page"`, or in a worker of this tab, or in one that all tabs share. */
  runIn?: Place;
  /** Tabs with the same hosts and the same session share a connection in a SharedWorker: the user's id, for example. */
  session?: string;
  /** Where a worker finds `socket.io-client` as a module, for pages without a bundler. By default by the import map. */
  clientUrl?: string;
  /** Start a worker of your own, which calls `serveWorker()`. */
  worker?: () => Worker | SharedWorker;
  /** Who keeps the time of a connection in a page: `"worker"`, since pages in the background hardly get to it. */
  timers?: "worker" | "page";
  /** Connect at once, true. */
  autoConnect?: boolean;
  retry?: Partial<RetryOptions>;
  /** Milliseconds between two looks for a network, 30000, if the browser does not say that there is one again. */
  recheck?: number;
  /** Milliseconds on a backup, half of it more or less, before the main host is tried again, 300000. */
  returnAfter?: number | false;
  /** The path of a small page of each host: if one answers, with whatever status, there is a network. The endpoint. */
  check?: string;
}

interface Reserved {
  connect: () => void;
  connect_error: (error: Error & { data?: any }) => void;
  disconnect: (reason: Socket.DisconnectReason, description?: unknown) => void;
}

type Listener<Listen, Event> = Event extends keyof Reserved
  ? Reserved[Event]
  : Event extends keyof Listen
    ? Listen[Event]
    : never;
type Name<Events> = Extract<keyof Events, string>;
type Arguments<Events, Event extends keyof Events> = Events[Event] extends (...args: infer A) => any ? A : any[];
type WithoutAck<A extends any[]> = A extends [...infer Before, (...answer: any[]) => any] ? Before : A;
type Answer<A extends any[]> = A extends [...any[], (answer: infer T, ...others: any[]) => any] ? T : any;

/** A socket whose connection is in a worker: what the stock client's socket has, but for `io`, `auth` and the like. */
export interface RemoteSocket<Listen extends EventsMap = EventsMap, Emit extends EventsMap = Listen> {
  readonly nsp: string;
  readonly id: string | undefined;
  readonly connected: boolean;
  readonly disconnected: boolean;
  readonly recovered: boolean;
  readonly active: boolean;
  on<E extends Name<Listen> | keyof Reserved>(event: E, listener: Listener<Listen, E>): this;
  once<E extends Name<Listen> | keyof Reserved>(event: E, listener: Listener<Listen, E>): this;
  off<E extends Name<Listen> | keyof Reserved>(event?: E, listener?: Listener<Listen, E>): this;
  listeners(event: Name<Listen> | keyof Reserved): Array<(...args: any[]) => void>;
  hasListeners(event: string): boolean;
  onAny(listener: (event: string, ...args: any[]) => void): this;
  prependAny(listener: (event: string, ...args: any[]) => void): this;
  offAny(listener?: (event: string, ...args: any[]) => void): this;
  listenersAny(): Array<(...args: any[]) => void>;
  onAnyOutgoing(listener: (event: string, ...args: any[]) => void): this;
  prependAnyOutgoing(listener: (event: string, ...args: any[]) => void): this;
  offAnyOutgoing(listener?: (event: string, ...args: any[]) => void): this;
  listenersAnyOutgoing(): Array<(...args: any[]) => void>;
  emit<E extends Name<Emit>>(event: E, ...args: Arguments<Emit, E>): this;
  emitWithAck<E extends Name<Emit>>(
    event: E,
    ...args: WithoutAck<Arguments<Emit, E>>
  ): Promise<Answer<Arguments<Emit, E>>>;
  send(...args: any[]): this;
  timeout(milliseconds: number): RemoteSocket<Listen, any>;
  compress(compress: boolean): this;
  readonly volatile: this;
  connect(): this;
  open(): this;
  disconnect(): this;
  close(): this;
}

/** A connection, with its sockets. */
export interface Connection<S = Socket> {
  /** The socket of the namespace that the options name. */
  readonly socket: S;
  /** What is going on. */
  readonly status: Observable<Status>;
  /** The socket of another namespace, on the same connection. */
  of(namespace: string): S;
  /** Connect all sockets that are not, e.g. when somebody has signed in again. */
  connect(): void;
  /** Cut the connection and make a new one at once. */
  reconnect(): void;
  /** Disconnect all sockets, of all tabs that share the connection, and call their `onSignedOut`. */
  signOut(): void;
  /** Disconnect for good. A connection that tabs share stays for the others. */
  close(): void;
}

export function connect<Listen extends EventsMap = any, Emit extends EventsMap = Listen>(
  options: ConnectOptions & { runIn: "worker" | "shared-worker" },
): Connection<RemoteSocket<Listen, Emit>>;
export function connect<Listen extends EventsMap = any, Emit extends EventsMap = Listen>(
  options?: ConnectOptions & { runIn?: "page" },
): Connection<Socket<Listen, Emit>>;
export function connect<Listen extends EventsMap = any, Emit extends EventsMap = Listen>(
  options?: ConnectOptions,
): Connection<Socket<Listen, Emit> | RemoteSocket<Listen, Emit>>;

/** Somebody who is in a room. */
export interface Member<Meta = any> {
  user: string;
  meta: Meta;
  /** In how many tabs, as of when we joined. */
  tabs: number;
}

/** What `presence` needs of a socket: the stock client's have it, and those of workers. */
export interface PresenceSource {
  on(event: any, listener: (...args: any[]) => void): unknown;
  readonly recovered: boolean;
}

/** Who is in a room that the socket has joined: as the server tells it, in order with what is said there. */
export function presence<Meta = any>(socket: PresenceSource, room: string): Observable<readonly Member<Meta>[]>;
