"""The only Envoy code: files that Envoy watches, the process that serves, and its statistics."""
