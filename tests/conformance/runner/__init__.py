"""The conformance runner: it plays cases (data) against a host through adapters (one a language).

Start reading at play.py. It knows the protocol of the control channel and the adapters' JSON lines; it must not
know the rules: what is right stands in the cases only.
"""
