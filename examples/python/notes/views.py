import os

from django.db import connection
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from .models import Note


def notes(request):
    """The page; a note that is sent to it is kept, and told to whoever is listening (live.py)."""
    if request.method == "POST":
        note = Note.objects.create(text=request.POST["text"][:1000])
        with connection.cursor() as cursor:
            cursor.execute("select pg_notify('notes', %s)", [note.text])
        return redirect("/")
    request.session["visits"] = request.session.get("visits", 0) + 1
    return render(request, "notes.html", {
        "notes": Note.objects.order_by("-id")[:20], "visits": request.session["visits"],
        "instance": os.environ.get("ENGINX_NUMBER"), "client": request.META["HTTP_X_FORWARDED_FOR"]})


@require_GET
def listing(request):
    return JsonResponse({"notes": list(Note.objects.order_by("-id").values_list("text", flat=True)[:20])})


@require_GET
def health(request):
    Note.objects.exists()
    return HttpResponse("well\n")


@require_GET
def who(request):
    return HttpResponse(f"{os.environ.get('ENGINX_NUMBER')} {os.getpid()}\n")
