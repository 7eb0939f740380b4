// Twofold for producers, viewers and receivers: publish events, follow live streams, verify webhooks.

export { EventRefused, NotSent, Publisher } from "./publish.js";
export { Consumer } from "./consumer.js";
export { feed, FeedRefused, followFeed } from "./feed.js";
export { EventParser } from "./parse.js";
export { follow, StreamRefused, subscribe } from "./stream.js";
export { SecretError, verifyBatch, verifyWebhook, WebhookVerificationError } from "./verify.js";
