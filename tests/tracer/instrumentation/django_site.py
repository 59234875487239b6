"""A Django project of two views, for tests. Settings can be made once in a process."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path


def item(request: HttpRequest, number: int) -> HttpResponse:
    return HttpResponse(f"item {number}")


def broken(request: HttpRequest) -> HttpResponse:
    raise ValueError("on purpose")


urlpatterns = [path("items/<int:number>/", item), re_path(r"^old/broken$", broken)]


def configure() -> Any:
    """The settings of the project."""
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="for tests",
            MIDDLEWARE=["tracer.instrumentation.django.RouteMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup(set_prefix=False)
    return settings
