"""Grafana's side: provisioning, and dashboards generated from code and committed as JSON."""
