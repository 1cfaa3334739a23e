// Written by `rtframework typescript`: change the server and write it again, not this file.
/* eslint-disable */

/** What the server emits in `/`. */
export interface ServerToClientEvents {
  /** Who you are, and how many are in each room. */
  welcome: (you: Person, rooms: Record<string, number>) => void;
  /** How many are in a room now; with nobody it is gone. */
  room: (room: string, people: number) => void;
  /** Somebody has said something in a room. */
  message: (data: Message) => void;
  /** Two people talk, and this is one of them. */
  private: (data: Message) => void;
  /** Somebody writes; no room: to you. */
  typing: (room: string | null, person: Person) => void;
  /** Sent to a client that has joined a room. */
  presence: (list: MemberList) => void;
  /** A user is in the room now. */
  presence_join: (member: MemberChange) => void;
  /** A user is not in the room any more. */
  presence_leave: (member: MemberChange) => void;
  /** A user is shown otherwise. */
  presence_update: (member: MemberChange) => void;
  /** What was said in a room that the client has joined. */
  history: (page: HistoryMessage) => void;
}

/** What clients emit in `/`. */
export interface ClientToServerEvents {
  /** Enter a room, which is made if need be. */
  join: (room: string, ack: (answer: string | EventError) => void) => void;
  /** Leave a room. */
  leave: (...args: [room: string] | [room: string, ack: (error?: EventError) => void]) => void;
  /** Say something in a room. Served once for each `key`, so that it may be sent again. */
  message: (room: string, text: string, key: string, ack: (answer: Message | EventError) => void) => void;
  /** Say something to a person. Served once for each `key`, so that it may be sent again. */
  private: (person: string, text: string, key: string, ack: (answer: Message | EventError) => void) => void;
  /** Say that a message is being written, in a room or to a person. */
  typing: (...args: [room: string | null] | [room: string | null, ack: (error?: EventError) => void] | [room: string | null, person: string | null] | [room: string | null, person: string | null, ack: (error?: EventError) => void]) => void;
}

/** What an acknowledgement gets when the server refuses an event. */
export interface EventError {
  error: { code: EventErrorCode; message: string; details?: unknown };
}

/** The server's own codes, and any of its handlers. The details of "rate_limited" are `{ retry_after: seconds }`. */
export type EventErrorCode =
  | "cancelled"
  | "internal_error"
  | "invalid_payload"
  | "rate_limited"
  | "unknown_event"
  | (string & {});

/** Whether an acknowledgement is a refusal, whatever the answer is: `"error" in answer` takes objects only. */
export function isEventError(answer: unknown): answer is EventError {
  const error = (answer as Partial<EventError> | null | undefined)?.error;
  return typeof error?.code === "string" && typeof error.message === "string";
}

/** One event that was said in a room. */
export interface HistoryItem {
  id: string;
  event: string | number;
  args: unknown[];
  at: number;
}

/** The argument of the event `"history"`. */
export interface HistoryMessage {
  room: string;
  entries: HistoryItem[];
  gap: boolean;
  more: boolean;
}

/** A user in a room. `tabs`: its sockets that are connected. */
export interface Member {
  user: string;
  meta: unknown;
  tabs: number;
}

/** A user who has come, has gone or is shown otherwise. */
export interface MemberChange {
  room: string;
  user: string;
  meta: unknown;
}

/** The users in a room. `more`: true if these are not all. */
export interface MemberList {
  room: string;
  members: Member[];
  more: boolean;
}

export interface Message {
  id: string;
  key: string;
  author: Person;
  text: string;
  time: string;
  room: string | null;
  to: Person | null;
}

export interface Person {
  id: string;
  name: string;
}
