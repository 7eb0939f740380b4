// Check Standard Webhooks signatures, v1 (HMAC-SHA256) and v1a (ed25519): https://www.standardwebhooks.com

const HMAC_SECRET = "whsec_";
const PRIVATE_KEY = "whsk_";
const PUBLIC_KEY = "whpk_";
const SHORTEST_SECRET_BYTES = 24; // the specification's bounds
const LONGEST_SECRET_BYTES = 64;
const PUBLIC_KEY_BYTES = 32; // ed25519, RFC 8032, 5.1.5
const TOLERANCE_SECONDS = 300; // the specification's advice against replays: five minutes either way
const TIMESTAMP = /^[0-9]{1,12}$/; // 30,000 years
const MOST_SIGNATURES = 32; // during a rotation a few secrets sign; more are an attempt to make the receiver work

/** This request was not sent by the holder of the secret, was changed on the way, or is too old. Answer 400. */
export class WebhookVerificationError extends Error {
  constructor(message) {
    super(message);
    this.name = "WebhookVerificationError";
  }
}

/** A secret or key is not in one of the three forms: the receiver's own configuration is wrong. */
export class SecretError extends Error {
  constructor(message) {
    super(message);
    this.name = "SecretError";
  }
}

/**
 * The event of a genuine webhook. body: its bytes (or text) exactly as received, not parsed and written again.
 * Rejects with WebhookVerificationError, and with SecretError when a secret is malformed.
 */
export async function verifyWebhook(secret, headers, body, options = {}) {
  const event = await verified(secret, headers, body, options);
  if (isObject(event)) return event;
  const what = Array.isArray(event) ? "an array: use verifyBatch" : "not a JSON object";
  throw new WebhookVerificationError(`the signature is valid, but the body is ${what}`);
}

/**
 * The events of a genuine webhook, in order: those of a batch, or the one of a webhook without. Each has an id of its own,
 * the same at every repeat; the id in the headers is the batch's. The rest is as of verifyWebhook.
 */
export async function verifyBatch(secret, headers, body, options = {}) {
  const parsed = await verified(secret, headers, body, options);
  const events = Array.isArray(parsed) ? parsed : [parsed];
  if (events.every(isObject)) return events;
  throw new WebhookVerificationError("the signature is valid, but the body does not hold JSON objects");
}

/** The parsed body of a genuine webhook. */
async function verified(secret, headers, body, options) {
  const { now = Date.now() / 1000, toleranceSeconds = TOLERANCE_SECONDS } = options;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const given = readHeaders(headers);
  checkTime(given.timestamp, now, toleranceSeconds);
  const prefix = new TextEncoder().encode(`${given.id}.${Number(given.timestamp)}.`);
  const signed = new Uint8Array(prefix.length + bytes.length);
  signed.set(prefix);
  signed.set(bytes, prefix.length);
  const signatures = given.signature.split(" ").slice(0, MOST_SIGNATURES);
  let matches = false;
  for (const one of typeof secret === "string" ? [secret] : secret) {
    // Every secret is tried, so that a malformed one shows at once and not on the day of a rotation.
    if (await madeAny(one, signed, signatures)) matches = true;
  }
  if (!matches) {
    throw new WebhookVerificationError(
      "no signature matches: the secret is another one, or the body is not byte for byte what was sent",
    );
  }
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new WebhookVerificationError(`the signature is valid, but the body is not JSON: ${error.message}`);
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readHeaders(headers) {
  const found = new Map();
  const entries = typeof headers.entries === "function" ? headers.entries() : Object.entries(headers);
  for (const [name, value] of entries) found.set(name.toLowerCase(), String(value));
  const read = (name) => {
    if (!found.has(name)) throw new WebhookVerificationError(`the ${name} header is missing`);
    return found.get(name);
  };
  return { id: read("webhook-id"), timestamp: read("webhook-timestamp"), signature: read("webhook-signature") };
}

function checkTime(timestamp, now, toleranceSeconds) {
  if (!TIMESTAMP.test(timestamp)) throw new WebhookVerificationError("the webhook-timestamp is not a number of seconds");
  const age = now - Number(timestamp);
  if (Math.abs(age) > toleranceSeconds) {
    const when = age > 0 ? "old" : "in the future";
    throw new WebhookVerificationError(
      `the webhook-timestamp is ${Math.abs(age).toFixed(0)} s ${when}: check this machine's clock`,
    );
  }
}

async function madeAny(secret, signed, signatures) {
  const { key, version, algorithm } = await keyOf(secret);
  let made = false;
  for (const one of signatures) {
    if (!one.startsWith(`${version},`)) continue;
    const signature = decoded(one.slice(version.length + 1));
    // WebCrypto compares in constant time.
    if (signature && (await crypto.subtle.verify(algorithm, key, signature, signed))) made = true;
  }
  return made;
}

async function keyOf(secret) {
  if (secret.startsWith(PRIVATE_KEY) || secret.startsWith(PUBLIC_KEY)) {
    const algorithm = { name: "Ed25519" };
    return { key: await importKey(publicKey(secret), algorithm), version: "v1a", algorithm };
  }
  const raw = secretBytes(secret, HMAC_SECRET);
  if (raw.length < SHORTEST_SECRET_BYTES || raw.length > LONGEST_SECRET_BYTES) {
    throw new SecretError(`a ${HMAC_SECRET} secret holds ${SHORTEST_SECRET_BYTES} to ${LONGEST_SECRET_BYTES} bytes`);
  }
  return { key: await importKey(raw, { name: "HMAC", hash: "SHA-256" }), version: "v1", algorithm: { name: "HMAC" } };
}

function importKey(raw, algorithm) {
  return crypto.subtle.importKey("raw", raw, algorithm, false, ["verify"]);
}

function publicKey(secret) {
  const isPrivate = secret.startsWith(PRIVATE_KEY);
  const prefix = isPrivate ? PRIVATE_KEY : PUBLIC_KEY;
  const raw = secretBytes(secret, prefix);
  const length = isPrivate ? 2 * PUBLIC_KEY_BYTES : PUBLIC_KEY_BYTES;
  if (raw.length !== length) {
    const what = isPrivate ? "the seed and the public key" : "of an ed25519 public key";
    throw new SecretError(`a ${prefix} key holds ${length} bytes: ${what}`);
  }
  return raw.slice(-PUBLIC_KEY_BYTES);
}

function secretBytes(secret, prefix) {
  if (!secret.startsWith(prefix)) throw new SecretError(`a secret of this kind starts with ${prefix}`);
  const raw = decoded(secret.slice(prefix.length));
  if (!raw) throw new SecretError(`what follows ${prefix} is not base64`);
  return raw;
}

/** The bytes of strict base64, null for anything else. */
function decoded(text) {
  if (text.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
