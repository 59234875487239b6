"""Scraping: targets found, relabelled and asked as Prometheus does."""

from .config import ScrapeConfig, ScrapeConfigInvalid, load_scrape_config
from .loop import Scraper

__all__ = ["ScrapeConfig", "ScrapeConfigInvalid", "Scraper", "load_scrape_config"]
