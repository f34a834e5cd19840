from django.urls import path

from . import views

urlpatterns = [
    path("", views.notes),
    path("healthz", views.health),
    path("whoami", views.who),
    path("api/notes", views.listing),
]
