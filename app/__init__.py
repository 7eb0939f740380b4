"""Twofold: one event, two deliveries."""
