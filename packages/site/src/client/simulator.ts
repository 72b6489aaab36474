document.querySelector("#simulator")!.textContent = "soon"
