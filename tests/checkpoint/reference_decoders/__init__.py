"""The specification of both encodings as code: slow readers in numpy that the compiled decoders are held to."""
