#!/bin/sh
# Stands in for deltachat-rpc-server: reads one call, and dies in the middle of its answer.
read -r _call
printf '{"jsonrpc": "2.0", "id": 1, "resu'
echo "the accounts are locked" >&2
exit 1
