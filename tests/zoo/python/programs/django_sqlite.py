"""Django's threaded server with SQLite: master and clones write to one database, each on its own address."""

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.http import JsonResponse
from django.urls import path
from harness import background, family, get

from gridcentric import guest

databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db", "OPTIONS": {"timeout": 60}}}
apps = ["django.contrib.contenttypes", "django.contrib.auth"]
settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], INSTALLED_APPS=apps, DATABASES=databases, LOGGING_CONFIG=None
)
django.setup()
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User


def add(request: object, name: str) -> JsonResponse:
    User.objects.create(username=name)
    return JsonResponse({"vmid": guest.vmid(), "users": User.objects.count()})


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


urlpatterns = [path("<name>", add)]
server = ThreadedWSGIServer(("0.0.0.0", 0), Quiet)
server.set_app(WSGIHandler())
background(server.serve_forever)
assert get("127.0.0.1", server.server_port, "/before") == {"vmid": 0, "users": 1}


def see(address: str, vmid: int) -> None:
    assert get(address, server.server_port, f"/user{vmid}") == {"vmid": vmid, "users": 2 + vmid}


family(lambda vmid: None, see)
assert User.objects.count() == 5
server.shutdown()
