/* The trial of an executable of enginx that is to take the place of the one that runs (upgrade.h):
 * started as `--role trial STATE FILE NAME` by the old one, it says on ROLE_FD, in one line of
 * JSON, whether it could take over: {"version": "0.2.0"}, or with "error": why not. It changes
 * nothing. */
#pragma once

/* The role's own main. STATE: the state directory; FILE: the configuration, "" for none; NAME: what
 * the cluster is called, "" for the file's own. */
int trial_main(int argc, char **argv);
