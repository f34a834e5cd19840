/* Pins: names in the BPF file system that keep maps and links alive without a process. Each cluster
 * has a folder of its own below MOUNT/enginx, and changes to it are made under a lock (flock(2) of
 * that folder) that is held for moments. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PIN_MOUNT "/sys/fs/bpf"
enum { PIN_PATH_BYTES = 256 };

/* Mounts the BPF file system there unless it is (making the folder if need be). 0 or -errno. */
int pins_mount(const char *mount);

/* folder/name; -ENAMETOOLONG. */
int pin_path(char ret_path[PIN_PATH_BYTES], const char *folder, const char *name);
/* The same for any text: the file system allows no dots, so unusual names are written with their
 * hash. */
int pin_path_of_name(char ret_path[PIN_PATH_BYTES], const char *folder, const char *name);

/* Makes the folder if it is not there, and locks it; a descriptor or -errno. */
int pins_lock(const char *root);
/* Unlocks, and removes the folder if nothing is in it. */
void pins_unlock(const char *root, int lock);

/* Is there a folder (of a cluster) in it? */
bool pins_any_folder(const char *root);

/* Removes a cluster's folder with everything in it: what was attached by those links is detached.
 */
void pins_remove(const char *folder);
