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
