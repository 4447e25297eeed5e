"""What messages of other libraries look like as data, in the words of `SessionMessage`.

Integrations and the readers of other libraries' stores share it: no library is needed for any.
"""
