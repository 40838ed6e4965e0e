"""The same in a browser, on this machine alone: what `avsr app` starts."""
