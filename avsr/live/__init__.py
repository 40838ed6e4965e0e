"""Captions while somebody speaks: from camera and microphone, or a file played as if it were."""
