// Package twofold is for producers, viewers and receivers of Twofold: publish events, follow live streams and
// the feed, verify webhooks. It needs the standard library only.
package twofold
