// Written by `rtframework typescript`: change the server and write it again, not this file.
/* eslint-disable */

/** What the server emits in `/`. */
export interface ServerToClientEvents {
  /** The first event of all: where the person is. */
  welcome: (data: Welcome) => void;
  /** Somebody has entered a room. */
  joined: (room: string, person: Person) => void;
  /** How many are in a room now; it is gone when nobody is. */
  room: (data: RoomInfo) => void;
  /** Somebody has left a room. */
  left: (room: string, person: Person) => void;
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
  join: (data: RoomName, ack: (answer: Joined | EventError) => void) => void;
  /** Leave a room. */
  leave: (...args: [data: RoomName] | [data: RoomName, ack: (error?: EventError) => void]) => void;
  /** Say something in a room. */
  message: (data: ToRoom, ack: (answer: Message | EventError) => void) => void;
  /** Say something to a person. */
  private: (data: ToPerson, ack: (answer: Message | EventError) => void) => void;
  /** Say that a message is being written, in a room or to a person. */
  typing: (...args: [data: Typing] | [data: Typing, ack: (error?: EventError) => void]) => void;
  /** A page that stays open asks for this at half time, so that only who was away for long must sign in again. */
  renew: (ack: (answer: Session | EventError) => void) => void;
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

export interface Joined {
  room: string;
  people: Person[];
  messages: Message[];
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

export interface Private {
  person: Person;
  messages: Message[];
}

export interface RoomInfo {
  name: string;
  count: number;
}

export interface RoomName {
  room: string;
}

export interface Session {
  token: string;
  person: Person;
  expires_in: number;
}

export interface ToPerson {
  person: string;
  text: string;
  key: string;
}

export interface ToRoom {
  room: string;
  text: string;
  key: string;
}

export interface Typing {
  room?: string | null;
  person?: string | null;
}

export interface Welcome {
  you: Person;
  rooms: RoomInfo[];
  lobby: Joined;
  private: Private[];
}
