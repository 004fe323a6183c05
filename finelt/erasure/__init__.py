"""`finelt erase`: erase a person or an account from lake, warehouse, site and drop, and prove it.

`subject` is the value and recognises it in rows and documents; `lake`, `warehouse`, `site` and `drop` find and erase it in one place each;
`record` keeps what was erased, when and for whom, without the value; `command` does one after the other.
"""
