"""The functions of PromQL, by what they work on."""
