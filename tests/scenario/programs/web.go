// A web server in a static binary, without the C library.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	who := os.Getenv("WHO")
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		fmt.Fprintf(response, "%s %d\n", who, os.Getpid())
	})
	log.Fatal(http.ListenAndServe(":8082", nil))
}
