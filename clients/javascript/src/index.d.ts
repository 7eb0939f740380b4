/** One event of a stream. id: where a reader stands after it (what `lastEventId` takes). */
export interface StreamEvent {
  type: string;
  data: string;
  id: string;
}

export interface FollowOptions {
  /** Where to go on from: the `id` of the last event that was seen; "0": the stream's first event. */
  lastEventId?: string;
  /** Called before each connection, so that an expired token is replaced. A TypeError (fetch's own) is tried again. */
  token?: () => string | Promise<string>;
  /** Other credentials, such as an API key on a server: `{ Authorization: "Bearer …" }`. */
  headers?: HeadersInit;
  /** Ends the stream. */
  signal?: AbortSignal;
  /** Told when a connection is open (true), and when it was lost (false, and why when that is known). */
  onConnection?: (isOpen: boolean, cause?: unknown) => void;
  /** Before the first reconnect, until the server says how long (1000). */
  firstWaitMs?: number;
  /** A connection on which nothing at all has come for so long is opened anew (75,000). */
  silenceMs?: number;
}

export function follow(url: string | URL, options?: FollowOptions): AsyncGenerator<StreamEvent, void, void>;

export interface Subscription {
  /** The id of the last event that `onEvent` has taken. */
  readonly lastEventId: string;
  /** Resolves when the stream has ended or was closed; rejects with StreamRefused, or what `token` or `onEvent` threw. */
  readonly done: Promise<void>;
  close(): void;
}

export function subscribe(
  url: string | URL,
  onEvent: (event: StreamEvent) => void | Promise<void>,
  options?: FollowOptions,
): Subscription;

/** Which events of the feed; left out means all. */
export interface FeedFilters {
  /** Such as "call:call_42". */
  streams?: readonly string[];
  kinds?: readonly string[];
  /** Such as "call.*". */
  types?: readonly string[];
  /** Such as { path: "/amount", gte: 100 }, as an endpoint's. */
  contentFilter?: Record<string, unknown>;
}

export interface FeedOptions extends FeedFilters {
  /** Earliest (which it is when left out), latest, a time (RFC 3339) or a cursor. */
  after?: string;
  /** Seconds to wait when there is no event. */
  wait?: number;
  limit?: number;
  headers?: HeadersInit;
  signal?: AbortSignal;
}

export interface FeedPage<Data = Record<string, unknown>> {
  data: { cursor: string; event: TwofoldEvent<Data> }[];
  /** Where to go on, also when there is no event. */
  cursor: string;
  /** There may be more at once. */
  more: boolean;
}

export function feed<Data = Record<string, unknown>>(
  baseUrl: string | URL,
  options?: FeedOptions,
): Promise<FeedPage<Data>>;

/**
 * after: latest when left out; a `lastEventId` (a cursor) wins over it. Needs an API key in `headers`, or in a browser a
 * `token` of the feed.
 */
export function followFeed(
  baseUrl: string | URL,
  options?: FollowOptions & FeedFilters & { after?: string },
): AsyncGenerator<StreamEvent, void, void>;

/** Where a consumer is. */
export interface FeedPlace {
  name: string;
  cursor: string;
  committed_at: string | null;
}

/** leased_until: until then somebody reads. lag: what lies behind its place, before its filters. */
export interface FeedConsumer extends FeedPlace {
  streams: string[] | null;
  kinds: string[] | null;
  types: string[] | null;
  content_filter: Record<string, unknown> | null;
  leased_until: string | null;
  lag: { events: number; at_least: boolean; seconds: number };
  created_at: string;
  read_at: string | null;
}

/** A page of a consumer. Without events there is no lease. */
export interface FeedLease<Data = Record<string, unknown>> extends FeedPage<Data> {
  lease: string | null;
  leased_until: string | null;
}

/** A reader of the feed whose place the server keeps. Its methods reject with FeedRefused, and with what fetch throws. */
export class Consumer<Data = Record<string, unknown>> {
  constructor(baseUrl: string | URL, name: string, options?: { headers?: HeadersInit });
  /** Make it, or give it other filters; one that exists stays where it is. */
  put(options?: FeedFilters & { start?: string }): Promise<FeedConsumer>;
  get(): Promise<FeedConsumer>;
  delete(): Promise<void>;
  /** wait: seconds. The same idempotencyKey has the same lease. */
  read(options?: {
    limit?: number;
    wait?: number;
    leaseSeconds?: number;
    idempotencyKey?: string;
    signal?: AbortSignal;
  }): Promise<FeedLease<Data>>;
  /** cursor: of the last event of the page that was handled; all of them when left out. */
  commit(lease: string, cursor?: string): Promise<FeedPlace>;
  seek(to: string): Promise<FeedPlace>;
  /** Page by page, each committed when the next one is asked for. One is empty when nothing came in `wait` seconds. */
  pages(options?: {
    limit?: number;
    wait?: number;
    leaseSeconds?: number;
    signal?: AbortSignal;
  }): AsyncGenerator<FeedPage<Data>["data"], void, void>;
}

export class FeedRefused extends Error {
  constructor(status: number, problem: Record<string, unknown>, retryAfterMs?: number);
  readonly status: number;
  readonly code: string;
  readonly problem: Record<string, unknown>;
  /** What its Retry-After asks for, 0 without one. */
  readonly retryAfterMs: number;
}

export class StreamRefused extends Error {
  constructor(status: number, body: string);
  readonly status: number;
  readonly body: string;
}

export class EventParser {
  constructor(lastEventId?: string);
  lastEventId: string;
  retryMs: number | null;
  feed(piece: Uint8Array): StreamEvent[];
}

/** The envelope. Numbers past 2^53 lose digits in JSON.parse: read them from the body where that matters. */
export interface TwofoldEvent<Data = Record<string, unknown>> {
  id: string;
  type: string;
  timestamp: string;
  workspace_id: string;
  stream: { kind: string; id: string };
  seq: number;
  data: Data;
  metadata?: Record<string, string | number | boolean | null>;
  traceparent?: string;
}

export interface VerifyOptions {
  /** Unix seconds (the clock). */
  now?: number;
  /** 300. */
  toleranceSeconds?: number;
}

export function verifyWebhook<Data = Record<string, unknown>>(
  secret: string | readonly string[],
  headers: Headers | Record<string, string | string[] | undefined>,
  body: Uint8Array | string,
  options?: VerifyOptions,
): Promise<TwofoldEvent<Data>>;

/** The events of a batch, or the one of a webhook without. */
export function verifyBatch<Data = Record<string, unknown>>(
  secret: string | readonly string[],
  headers: Headers | Record<string, string | string[] | undefined>,
  body: Uint8Array | string,
  options?: VerifyOptions,
): Promise<TwofoldEvent<Data>[]>;

export class WebhookVerificationError extends Error {
  constructor(message: string);
}

export class SecretError extends Error {
  constructor(message: string);
}

/** What the server says of an event that is stored. duplicate: it was already, by its idempotency key. */
export interface EventOut {
  id: string;
  seq: number;
  stream: { kind: string; id: string };
  type: string;
  occurred_at: string;
  created_at: string;
  duplicate: boolean;
}

export interface Unsent {
  /** The event's JSON, with its idempotency key. */
  event: string;
  idempotencyKey: string;
}

export interface PublishOptions {
  /** RFC 3339. */
  occurredAt?: string;
  /** One that you keep, so that the event can be published again after a crash; one is made otherwise. */
  idempotencyKey?: string;
  /** Travels in the envelope. */
  metadata?: Record<string, string | number | boolean | null>;
  /** Labels that endpoints can ask for. */
  channels?: readonly string[];
}

export class Publisher {
  constructor(baseUrl: string, key: string, options?: { workspace?: string; mostWaiting?: number });
  readonly waiting: number;
  /** data: an object, or JSON text, which is posted as it is spelled. */
  publish(
    kind: string,
    id: string,
    type: string,
    data: Record<string, unknown> | string,
    options?: PublishOptions,
  ): Promise<EventOut>;
  ready(): Promise<void>;
  flush(ms?: number): Promise<boolean>;
  close(ms?: number): Promise<Unsent[]>;
}

export class EventRefused extends Error {
  constructor(status: number, problem: Record<string, unknown>, idempotencyKey: string);
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly idempotencyKey: string;
}

export class NotSent extends Error {
  constructor(idempotencyKey: string);
  readonly idempotencyKey: string;
}
