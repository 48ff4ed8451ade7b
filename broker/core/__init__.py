"""Sessions, takeover, wills and expiry: synchronous; the time is what the plane says it is."""
