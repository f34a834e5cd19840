from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=1000)
    written = models.DateTimeField(auto_now_add=True)
